"""Sorting, order statistics and positions in sorted numbers; a picked value's derivative goes where it was picked."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from migrator.ops.reduce import pick
from migrator.ops.registry import rule


@rule("aten.sort.default", "aten.sort.stable")
def sort(x: Array, dim: int = -1, descending: bool = False, stable: bool | None = None) -> tuple[Array, Array]:
    """Values along an axis in order, and where they stood; equal ones stay in their order."""
    order = jnp.argsort(x, dim, stable=True, descending=descending)
    return jnp.take_along_axis(x, order, dim), order


@rule("aten.topk.default")
def topk(x: Array, k: int, dim: int = -1, largest: bool = True, sorted_: bool = True) -> tuple[Array, Array]:
    """The k largest or smallest values along an axis, in order, and where they stood."""
    order = lax.slice_in_dim(jnp.argsort(x, dim, stable=True, descending=largest), 0, k, axis=dim % x.ndim)
    return jnp.take_along_axis(x, order, dim), order


@rule("aten.kthvalue.default")
def kthvalue(x: Array, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Array, Array]:
    """The k-th smallest value along an axis, and where it stood."""
    order = jnp.argsort(x, dim, stable=True)
    return pick(x, lax.slice_in_dim(order, k - 1, k, axis=dim % x.ndim), dim, keepdim)


@rule("aten.median.dim")
def median(x: Array, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
    """The lower of the middle values along an axis, or NaN where there is one, and where it stood."""
    order, size = jnp.argsort(x, dim, stable=True), x.shape[dim]
    middle = lax.slice_in_dim(order, (size - 1) // 2, (size - 1) // 2 + 1, axis=dim % x.ndim)
    nans = jnp.isnan(x)
    first = jnp.argmax(nans, dim, keepdims=True)
    return pick(x, jnp.where(jnp.any(nans, dim, keepdims=True), first, middle), dim, keepdim)


@rule("aten.nanmedian.dim")
def nanmedian(x: Array, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
    """The lower of the middle values along an axis that are not NaN, and where it stood."""
    order = jnp.argsort(x, dim, stable=True)  # NaN is last
    counts = jnp.sum(~jnp.isnan(x), dim, keepdims=True)
    return pick(x, jnp.take_along_axis(order, jnp.maximum(counts - 1, 0) // 2, dim), dim, keepdim)


@rule("aten.median.default")
def median_all(x: Array) -> Array:
    """The lower of the middle values of everything; equal ones share the derivative."""
    return _evenly(x, median(lax.stop_gradient(x).ravel(), 0)[0])


@rule("aten.nanmedian.default")
def nanmedian_all(x: Array) -> Array:
    """The lower of the middle values of everything that is not NaN; equal ones share the derivative."""
    return _evenly(x, nanmedian(lax.stop_gradient(x).ravel(), 0)[0])


def _evenly(x: Array, value: Array) -> Array:
    """A value that occurs in x, as the mean of its occurrences, for the derivative."""
    same = (x == value) | (jnp.isnan(x) & jnp.isnan(value))
    return jnp.sum(jnp.where(same, x, 0)) / jnp.sum(same)


@rule("aten.mode.default")
def mode(x: Array, dim: int = -1, keepdim: bool = False) -> tuple[Array, Array]:
    """The smallest of the most frequent values along an axis, and its last position."""
    rows = jnp.moveaxis(x, dim, -1)
    same = rows[..., :, None] == rows[..., None, :]
    counts = jnp.sum(same, -1)
    frequent = counts == jnp.max(counts, -1, keepdims=True)
    order = jnp.argsort(rows, -1, stable=True)
    chosen = jnp.argmax(jnp.take_along_axis(frequent, order, -1), -1, keepdims=True)
    equal = rows == jnp.take_along_axis(rows, jnp.take_along_axis(order, chosen, -1), -1)
    last = rows.shape[-1] - 1 - jnp.argmax(jnp.flip(equal, -1), -1, keepdims=True)
    return pick(x, jnp.moveaxis(last, -1, dim), dim, keepdim)


@rule("aten.cummax.default")
def cummax(x: Array, dim: int) -> tuple[Array, Array]:
    """Largest value so far along an axis, and where it last stood."""
    return _running(x, lax.cummax(lax.stop_gradient(x), dim % x.ndim), dim % x.ndim)


@rule("aten.cummin.default")
def cummin(x: Array, dim: int) -> tuple[Array, Array]:
    """Smallest value so far along an axis, and where it last stood."""
    return _running(x, lax.cummin(lax.stop_gradient(x), dim % x.ndim), dim % x.ndim)


def _running(x: Array, extremes: Array, dim: int) -> tuple[Array, Array]:
    own = lax.broadcasted_iota(int, x.shape, dim)
    places = lax.cummax(jnp.where(x == extremes, own, 0), dim)
    return jnp.take_along_axis(x, places, dim), places


@rule("aten.searchsorted.Tensor", "aten.searchsorted.Scalar")
def searchsorted(
    edges: Array,
    x: Any,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Array | None = None,
) -> Array:
    """Where each number belongs among sorted ones, before equals or (``right``) after; row by row for several rows."""
    if sorter is not None:
        edges = jnp.take_along_axis(edges, sorter, -1)
    where = side or ("right" if right else "left")
    if edges.ndim == 1:
        return jnp.searchsorted(edges, x, side=where)
    rows = jax.vmap(partial(jnp.searchsorted, side=where))
    return rows(edges.reshape(-1, edges.shape[-1]), x.reshape(-1, x.shape[-1])).reshape(x.shape)


@rule("aten.bucketize.Tensor", "aten.bucketize.Scalar")
def bucketize(x: Any, edges: Array, out_int32: bool = False, right: bool = False) -> Array:
    """The interval between sorted numbers in which each number lies."""
    return searchsorted(edges, x, right=right)
