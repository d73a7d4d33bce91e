"""Placing along one axis, chosen separately for each place of the others."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from migrator.ops.registry import rule


def _places(x: Array, dim: int, indices: Array) -> Any:
    """The places of x to which ``indices`` point."""
    grid = list(jnp.ogrid[tuple(slice(size) for size in indices.shape)])
    grid[dim] = indices
    return x.at[tuple(grid)]


def _cut(source: Any, indices: Array) -> Array:
    """The part of the source that is placed: as large as the indices."""
    return source[tuple(slice(size) for size in indices.shape)]


@rule("aten.scatter.src")
def scatter(x: Array, dim: int, indices: Array, source: Array) -> Array:
    """x with places replaced by a source."""
    return _places(x, dim, indices).set(_cut(source, indices))


@rule("aten.scatter.value")
def scatter_value(x: Array, dim: int, indices: Array, value: Any) -> Array:
    """x with places replaced by a number."""
    return _places(x, dim, indices).set(value)


@rule("aten.scatter_add.default")
def scatter_add(x: Array, dim: int, indices: Array, source: Array) -> Array:
    """x with a source added."""
    return _places(x, dim, indices).add(_cut(source, indices))


NAMES = {"add": "sum", "multiply": "prod"}
"""What the older overloads call their reductions."""


@rule("aten.scatter.reduce")
def scatter_source(x: Array, dim: int, indices: Array, source: Array, reduce: str) -> Array:
    """x with a source added or multiplied."""
    return scatter_reduce(x, dim, indices, source, NAMES[reduce])


@rule("aten.scatter.value_reduce")
def scatter_number(x: Array, dim: int, indices: Array, value: Any, reduce: str) -> Array:
    """x with a number added or multiplied."""
    return scatter_reduce(x, dim, indices, jnp.full(indices.shape, value, x.dtype), NAMES[reduce])


@rule("aten.scatter_reduce.two")
def scatter_reduce(x: Array, dim: int, indices: Array, source: Array, reduce: str, include_self: bool = True) -> Array:
    """Sum, product, mean, largest or smallest of all that is placed at one place.

    Args:
        x: what is there before.
        dim: the axis along which ``indices`` point.
        indices: as large as the part of the source that is used.
        source: what is placed.
        reduce: ``sum``, ``prod``, ``mean``, ``amax`` or ``amin``; equal largest ones share the derivative.
        include_self: whether x takes part where something is placed.

    """
    part = _cut(source, indices)
    if reduce in ("amax", "amin"):
        return _scatter_extreme(x, dim, indices, part, reduce, include_self)
    counts = _places(jnp.zeros(x.shape, part.dtype), dim, indices).add(1)
    neutral = jnp.asarray(1 if reduce == "prod" else 0, x.dtype)
    base = x if include_self else jnp.where(counts > 0, neutral, x)
    if reduce == "prod":
        return base * _scattered_product(x, dim, indices, part)
    total = _places(base, dim, indices).add(part)
    if reduce == "sum":
        return total
    divisor = jnp.maximum(counts + 1 if include_self else counts, 1)
    return total / divisor if jnp.issubdtype(x.dtype, jnp.inexact) else total // divisor


def _scattered_product(x: Array, dim: int, indices: Array, part: Array) -> Array:
    """Product of what is placed at each place; one where there is nothing."""
    axis = dim % x.ndim
    here = jnp.expand_dims(indices, axis) == jnp.arange(x.shape[axis]).reshape(-1, *(1,) * (x.ndim - axis))
    factors = jnp.prod(jnp.where(here, jnp.expand_dims(part, axis), jnp.ones((), part.dtype)), axis + 1)
    ends = [(0, full - size, 0) for full, size in zip(x.shape, factors.shape, strict=True)]
    return lax.pad(factors, jnp.ones((), part.dtype), ends)


def _scatter_extreme(x: Array, dim: int, indices: Array, part: Array, reduce: str, include_self: bool) -> Array:
    still, values = lax.stop_gradient(x), lax.stop_gradient(part)
    touched = _places(jnp.zeros(x.shape, bool), dim, indices).set(True)
    worst = jnp.asarray(-jnp.inf if reduce == "amax" else jnp.inf) if jnp.issubdtype(x.dtype, jnp.inexact) else None
    if worst is None:
        limits = jnp.iinfo(x.dtype)
        worst = jnp.asarray(limits.min if reduce == "amax" else limits.max)
    kept = jnp.ones(x.shape, bool) if include_self else ~touched
    places = _places(jnp.where(kept, still, worst.astype(x.dtype)), dim, indices)
    extreme = places.max(values) if reduce == "amax" else places.min(values)
    own = kept & (still == extreme)
    grid = _places(extreme, dim, indices)
    equal = values == grid.get()
    counts = _places(own.astype(x.dtype), dim, indices).add(equal.astype(x.dtype))
    sums = _places(jnp.where(own, x, 0), dim, indices).add(jnp.where(equal, part, 0))
    return sums / counts if jnp.issubdtype(x.dtype, jnp.inexact) else extreme


@rule("aten.index_reduce.default")
def index_reduce(x: Array, dim: int, indices: Array, source: Array, reduce: str, include_self: bool = True) -> Array:
    """``scatter_reduce`` of whole slices."""
    shape = [-1 if axis == dim % x.ndim else 1 for axis in range(x.ndim)]
    spread = jnp.broadcast_to(indices.reshape(shape), source.shape)
    return scatter_reduce(x, dim, spread, source, reduce, include_self)


@rule("aten.masked_scatter.default")
def masked_scatter(x: Array, mask: Array, source: Array) -> Array:
    """x with the places of a mask replaced by a source, taken in order."""
    where = jnp.broadcast_to(mask, x.shape)
    order = jnp.cumsum(where.ravel()) - 1
    return jnp.where(where, source.ravel()[jnp.maximum(order, 0)].reshape(x.shape), x)


@rule("aten.put.default")
def put(x: Array, indices: Array, source: Array, accumulate: bool = False) -> Array:
    """x with places of the flattened array replaced, or added to."""
    places = x.ravel().at[indices.ravel()]
    return (places.add(source.ravel()) if accumulate else places.set(source.ravel())).reshape(x.shape)
