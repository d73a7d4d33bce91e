"""Every classification architecture of torchvision, as it is."""

from __future__ import annotations

from torch import nn

from migrator.errors import MigratorError
from migrator.survey.subject import Subject, disturb, images, runs

try:
    from torchvision import models
except ImportError as error:
    raise MigratorError("this survey needs torchvision; install it beside torch") from error

HOW = "Every classification architecture, whole."
NATIVE = 224


def names() -> list[str]:
    """Return the names of all classification architectures."""
    return list(models.list_models(module=models))


def build(name: str, side: int | None) -> Subject:
    """Return an architecture.

    Args:
        name: torchvision's.
        side: of the images; where torch itself cannot run on it, and by default, the architecture's own.

    """
    settings = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    module = disturb(models.get_model(name, weights=None, **settings))
    size = native_side(name, module)
    if side is not None and runs(module, (images(side),)):
        size = side
    return Subject(module, (images(size),), size)


def native_side(name: str, module: nn.Module) -> int:
    """Return the side of the images that an architecture is meant for.

    Args:
        name: torchvision's.
        module: the architecture; a vision transformer's positions fix its size.

    """
    preset = models.get_model_weights(name)["DEFAULT"].transforms
    crop = getattr(preset, "keywords", {}).get("crop_size", NATIVE)
    return int(getattr(module, "image_size", crop))
