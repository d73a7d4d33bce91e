"""Picking and placing by index."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from migrator.ops.registry import EMBEDDING, rule
from migrator.ops.scatter import scatter_reduce


@rule("aten.embedding.default", roles={0: EMBEDDING})
def embedding(table: Array, indices: Array, padding_idx: int = -1, *_: Any) -> Array:
    """Rows of a table; the row of ``padding_idx`` receives no gradient."""
    rows = jnp.take(table, indices, 0)
    if padding_idx < 0:
        return rows
    return jnp.where((indices == padding_idx)[..., None], lax.stop_gradient(rows), rows)


@rule("aten._embedding_bag.default", "aten._embedding_bag_forward_only.default", roles={0: EMBEDDING})
def embedding_bag(
    table: Array,
    indices: Array,
    offsets: Array,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    weights: Array | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> tuple[Array, Array, Array, Array]:
    """Sum, mean or largest of the rows of each bag as the first of several results, of which only it is for use.

    Args:
        table: ``[rows, E]``.
        indices: the rows of all bags, one bag after the other.
        offsets: where each bag starts.
        scale_grad_by_freq: must be false.
        mode: 0 sum, 1 mean, 2 largest.
        sparse: how torch stores the gradient.
        weights: a factor for each of the indices; sum only.
        include_last_offset: whether the end of the last bag is among the offsets.
        padding_idx: rows that do not count.

    """
    bags = offsets.shape[0] - int(include_last_offset)
    numbers = jnp.searchsorted(offsets[:bags], jnp.arange(indices.shape[0]), side="right") - 1
    rows = jnp.take(table, indices, 0)
    counted = (indices != padding_idx)[:, None]
    kept = jnp.where(counted, rows if weights is None else rows * weights[:, None], 0)
    total = jnp.zeros((bags, table.shape[1]), table.dtype)
    if mode == 2:
        spread = jnp.broadcast_to(jnp.where(counted, numbers[:, None], bags), rows.shape)  # one bag more for padding
        room = jnp.zeros((bags + 1, table.shape[1]), table.dtype)
        total = scatter_reduce(room, 0, spread, rows, "amax", False)[:bags]
    else:
        total = total.at[numbers].add(kept)
    if mode == 1:
        total = total / jnp.maximum(jnp.zeros((bags, 1), table.dtype).at[numbers].add(counted), 1)
    return total, numbers, numbers, numbers


@rule("aten.index.Tensor")
def index(x: Array, indices: tuple[Array | None, ...]) -> Array:
    """Advanced indexing; ``None`` takes a whole axis."""
    return x[tuple(slice(None) if place is None else place for place in indices)]


@rule("aten.index_select.default")
def index_select(x: Array, dim: int, indices: Array) -> Array:
    """Positions of one axis."""
    return jnp.take(x, indices, dim)


@rule("aten.gather.default")
def gather(x: Array, dim: int, indices: Array, *_: Any, **__: Any) -> Array:
    """Positions of one axis, chosen separately for each place of the others."""
    return jnp.take_along_axis(_shrunk(x, indices, dim), indices, dim)


def _shrunk(x: Array, indices: Array, dim: int) -> Array:
    """x cut to the shape of the indices on every other axis."""
    ends = [x.shape[dim] if axis == dim % x.ndim else size for axis, size in enumerate(indices.shape)]
    return x[tuple(slice(end) for end in ends)]


@rule("aten.index_put.default")
def index_put(x: Array, indices: tuple[Array | None, ...], values: Array, accumulate: bool = False) -> Array:
    """x with the places of an advanced index replaced, or added to; ``None`` takes a whole axis.

    Args:
        x: any array.
        indices: numbers; or one mask, and then one value for all of its places.
        values: broadcast to what the index picks.
        accumulate: whether to add; a place that is picked twice is added to twice.

    """
    masks = [axis for axis, place in enumerate(indices) if place is not None and place.dtype == bool]
    if masks:
        mask = indices[masks[0]]
        assert mask is not None
        mask = mask.reshape(mask.shape + (1,) * (x.ndim - masks[0] - mask.ndim))
        return jnp.where(mask, x + values if accumulate else values, x)
    places = x.at[tuple(slice(None) if place is None else place for place in indices)]
    return places.add(values) if accumulate else places.set(values)


def _range(x: Array, dim: int, start: Any, end: Any, step: int) -> tuple[Any, ...]:
    place: list[Any] = [slice(None)] * x.ndim
    place[dim] = slice(start, end, step)
    return tuple(place)


@rule("aten.slice_scatter.default")
def slice_scatter(x: Array, source: Array, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Array:
    """x with a range of one axis replaced."""
    return x.at[_range(x, dim, start, end, step)].set(source)


@rule("aten.select_scatter.default")
def select_scatter(x: Array, source: Array, dim: int, position: int) -> Array:
    """x with one position of one axis replaced."""
    place: list[Any] = [slice(None)] * x.ndim
    place[dim] = position
    return x.at[tuple(place)].set(source)


@rule("aten.copy.default")
def copy(x: Array, source: Array, *_: Any) -> Array:
    """The source in the shape and type of x."""
    return jnp.broadcast_to(source, x.shape).astype(x.dtype)
