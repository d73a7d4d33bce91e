"""What a network would take, told from the shapes of its tensors before any of them is allocated."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from common.memory import available_memory, shown
from trainer.errors import TrainerError
from trainer.models.spec import Shape

TRAINED = 3
"""What is kept of every weight while a network is trained: itself, its gradient and its momentum."""
DRAWN = ("normal_", "uniform_")


class _Undrawn(TorchFunctionMode):
    """Initial weights are not drawn: without memory there is nowhere to put them, and torch would load a compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if getattr(func, "__name__", "") in DRAWN:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def require_memory(
    name: str, builder: Callable[..., nn.Module], input_shape: Shape, num_classes: int, options: Mapping[str, Any]
) -> None:
    """Refuse a network that memory does not hold while it is trained.

    Args:
        name: of its family.
        builder: of the family.
        input_shape: (C, H, W) of one image.
        num_classes: number of outputs.
        options: every one of the family's.

    Raises:
        TrainerError: it is larger than what is free, or than any tensor can be.

    """
    said = ", ".join(f"{key}={value}" for key, value in options.items() if type(value) is int)
    size = _size(builder, input_shape, num_classes, tuple(options.items()))
    if size is None:
        raise TrainerError(f"{name} with {said} is larger than any tensor can be; choose smaller options")
    if size > (there := available_memory()):
        raise TrainerError(
            f"{name} with {said} takes {shown(size)} to be trained, but {shown(there)} are free; choose smaller options"
        )


@cache
def _size(
    builder: Callable[..., nn.Module], input_shape: Shape, num_classes: int, options: tuple[tuple[str, Any], ...]
) -> int | None:
    """Return the bytes that training keeps, None where no tensor can have such a size."""
    try:
        with torch.device("meta"), _Undrawn():
            shapes = builder(input_shape, num_classes, **dict(options))
    except (RuntimeError, OverflowError, TypeError):  # torch's words for a size that 64 bits do not hold
        return None
    return TRAINED * sum(tensor.nbytes for tensor in shapes.state_dict().values())
