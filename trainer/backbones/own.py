"""``PKG.MOD:FACTORY``: a user's own module from images to features."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.files import sha256_of
from common.settings import kept
from trainer.backbones.base import Backbone, BackboneKind, Size, state_sha256
from trainer.errors import TrainerError
from trainer.models.custom import import_factory, reason

SIZE = 224
"""Where the module does not say."""


def open_own(name: str) -> Backbone:
    """Call a user's factory, without arguments, and check what it made.

    The module may say in attributes what it expects: ``input_size``, N or (height, width), 224; ``mean`` and ``std`` a
    channel, 0 and 1 for three channels.  Random weights are drawn alike each time.

    Args:
        name: ``PKG.MOD:FACTORY``.

    Raises:
        TrainerError: it cannot be imported or called, or makes no features; one line.

    """
    factory = import_factory(name, "--backbone")
    net = _made(name, factory)
    mean, std = _values(name, net, "mean", 0.0), _values(name, net, "std", 1.0)
    size = _size(name, getattr(net, "input_size", SIZE))
    code = inspect.getsourcefile(inspect.unwrap(factory)) or ""
    digest = state_sha256(net.state_dict(), name, sha256_of(Path(code)) if Path(code).is_file() else code)
    found = Backbone(name, digest, lambda: _made(name, factory), size, mean, std)
    _check(name, net, (found.channels, *size))
    return found


def _made(name: str, factory: Any) -> nn.Module:
    try:
        with torch.random.fork_rng(devices=[]), kept(generators=False):
            torch.manual_seed(0)
            net = factory()
    except (Exception, SystemExit) as error:  # a user's own code may do anything
        raise TrainerError(f"--backbone {name} cannot be built ({reason(error)})") from error
    if not isinstance(net, nn.Module):
        raise TrainerError(f"--backbone {name} made a {type(net).__name__}; expected a torch.nn.Module")
    return net.eval()


def _check(name: str, net: nn.Module, shape: tuple[int, int, int]) -> None:
    """See that it makes features of images."""
    batch = [2, *shape]
    try:
        with torch.no_grad(), kept(generators=False):
            features = net(torch.zeros(batch))
    except (Exception, SystemExit) as error:
        raise TrainerError(f"--backbone {name} cannot process a float32 batch {batch} ({reason(error)})") from error
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != 2 or not features.is_floating_point():
        got = list(features.shape) if isinstance(features, Tensor) else f"a {type(features).__name__}"
        raise TrainerError(
            f"--backbone {name}: for a batch {batch} expected features [2, d], got {got}: pool and flatten them"
        )


def _values(name: str, net: nn.Module, what: str, otherwise: float) -> tuple[float, ...]:
    given = getattr(net, what, None)
    try:
        return (otherwise,) * 3 if given is None else tuple(float(value) for value in given)
    except (TypeError, ValueError) as error:
        raise TrainerError(f"--backbone {name}: {what}: expected a number for each channel, got {given!r}") from error


def _size(name: str, given: Any) -> Size:
    sides = [given, given] if isinstance(given, int) else list(given)[-2:] if isinstance(given, Sequence) else []
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise TrainerError(f"--backbone {name}: input_size: expected N or (height, width), got {given!r}")
    return sides[0], sides[1]


KIND = BackboneKind(
    name="PKG.MOD:FACTORY",
    description="your own module from images to features [N, d]: def build(), such as my_net:build for my_net.py in "
    "the current directory; its attributes input_size, mean and std say what it expects",
    source="docs/backbones.md",
    opens=open_own,
)
