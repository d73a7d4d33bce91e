"""Picking and placing by index."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from migrator.ops.registry import EMBEDDING, rule


@rule("aten.embedding.default", roles={0: EMBEDDING})
def embedding(table: Array, indices: Array, padding_idx: int = -1, *_: Any) -> Array:
    """Rows of a table; the row of `padding_idx` receives no gradient."""
    rows = jnp.take(table, indices, 0)
    if padding_idx < 0:
        return rows
    return jnp.where((indices == padding_idx)[..., None], lax.stop_gradient(rows), rows)


@rule("aten.index.Tensor")
def index(x: Array, indices: tuple[Array | None, ...]) -> Array:
    """Advanced indexing; `None` takes a whole axis."""
    return x[tuple(slice(None) if place is None else place for place in indices)]


@rule("aten.index_select.default")
def index_select(x: Array, dim: int, indices: Array) -> Array:
    """Positions of one axis."""
    return jnp.take(x, indices, dim)


@rule("aten.gather.default")
def gather(x: Array, dim: int, indices: Array, *_: Any, **__: Any) -> Array:
    """Positions of one axis, chosen separately for each place of the others."""
    return jnp.take_along_axis(x, indices, dim)


def _range(x: Array, dim: int, start: Any, end: Any, step: int) -> tuple[Any, ...]:
    place: list[Any] = [slice(None)] * x.ndim
    place[dim] = slice(start, end, step)
    return tuple(place)


@rule("aten.slice_scatter.default")
def slice_scatter(x: Array, source: Array, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Array:
    """X with a range of one axis replaced."""
    return x.at[_range(x, dim, start, end, step)].set(source)


@rule("aten.select_scatter.default")
def select_scatter(x: Array, source: Array, dim: int, position: int) -> Array:
    """X with one position of one axis replaced."""
    place: list[Any] = [slice(None)] * x.ndim
    place[dim] = position
    return x.at[tuple(place)].set(source)


@rule("aten.copy.default")
def copy(x: Array, source: Array, *_: Any) -> Array:
    """The source in the shape and type of x."""
    return jnp.broadcast_to(source, x.shape).astype(x.dtype)
