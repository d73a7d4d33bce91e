"""The smallest architecture of each family of timm, with the blocks that repeat left out."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from migrator.errors import MigratorError
from migrator.survey.subject import Subject, disturb, images, runs, shorten

try:
    import timm
except ImportError as error:
    raise MigratorError('this survey needs timm; install it by pip install ".[survey]"') from error

HOW = (
    "The smallest architecture of each family (what a file of timm calls by one word), with ten classes, on images of\n"
    "64 pixels where it takes them. Of blocks in a row that have tensors of the same shapes, two stay."
)
SIDE = 64
CLASSES = 10
SIZES = (
    *("test", "zepto", "atto", "femto", "pico", "nano", "xxtiny", "xxt", "xx", "xxs", "xtiny", "xt", "x", "xs"),
    *("tiny", "ti", "t", "t0", "mini", "s0", "small", "s", "lite", "m", "medium", "base", "b", "large", "l"),
    *("xlarge", "so400m", "412m", "300m", "1b", "huge", "giant"),
)
"""Words for sizes in names, from small to large; a name without one stands where ``medium`` does."""


def names() -> list[str]:
    """Return the smallest architecture of each family, and those that are small of their kind first: as names tell."""
    families: dict[tuple[str, str], list[str]] = {}
    for module in timm.list_modules():
        for name in timm.list_models(module=module):
            found = re.match(r"[a-z]+", name.removeprefix("test_").removeprefix("tf_").removeprefix("legacy_"))
            families.setdefault((module, found[0] if found else name), []).append(name)
    return sorted((min(family, key=_size) for family in families.values()), key=_size)


def _size(name: str) -> tuple[Any, ...]:
    words = re.split(r"_", name)
    sizes = [SIZES.index(word) for word in words if word in SIZES]
    numbers = tuple(int(number) for number in re.findall(r"\d+", name))
    return (min(sizes, default=SIZES.index("medium")), len(words), numbers, name)


def build(name: str, side: int | None) -> Subject:
    """Return an architecture.

    Args:
        name: timm's.
        side: of the images; 64 by default, and the architecture's own where it does not take that.

    Raises:
        MigratorError: torch itself cannot run it on any of these.

    """
    native = timm.get_pretrained_cfg(name)
    own = native.input_size[-1] if native is not None else SIDE
    for size, settings in ((side or SIDE, {}), (side or SIDE, {"img_size": side or SIDE}), (own, {})):
        module = _made(name, settings)
        inputs = (images(size),)
        if module is not None and runs(module, inputs):
            shorten(module, inputs)
            return Subject(disturb(module), inputs, size)
    raise MigratorError(f"torch cannot run {name} on images of {side or SIDE} or {own} pixels")


def _made(name: str, settings: dict[str, Any]) -> nn.Module | None:
    try:
        return timm.create_model(name, pretrained=False, num_classes=CLASSES, **settings).eval()
    except Exception:  # many take no size, and say so in their own way
        if not settings:
            raise
        return None
