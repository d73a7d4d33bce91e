"""What convolutions and pools share: settings for each axis, and inputs without a batch axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jax import Array


def each(value: Any, axes: int) -> tuple[int, ...]:
    """One number for each spatial axis.

    Args:
        value: one for all, or a tuple of one for all or of one each.
        axes: number of spatial axes.

    """
    values = value if isinstance(value, tuple) else (value,)
    return values * axes if len(values) == 1 else values


def batched(function: Callable[[Array], Array], x: Array, rank: int) -> Array:
    """The function of x, to which a batch axis of one is lent when it has none.

    Args:
        function: of an array with a batch axis, to one with a batch axis.
        x: its argument, with or without.
        rank: number of axes with the batch axis.

    """
    return function(x) if x.ndim == rank else function(x[None])[0]
