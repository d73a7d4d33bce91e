"""Reductions and functions along an axis."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from migrator.layout import along
from migrator.ops.elementwise import absolute
from migrator.ops.registry import rule


def _axes(dim: Any) -> Any:
    return None if dim is None or dim == () else dim


@rule("aten.mean.dim", policy=along(1, 2, reduces=True))
def mean(x: Array, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Array:
    """Arithmetic mean over axes."""
    return jnp.mean(x, _axes(dim), keepdims=keepdim, dtype=dtype)


@rule("aten.sum.dim_IntList", policy=along(1, 2, reduces=True))
def sum_(x: Array, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Array:
    """Sum over axes."""
    return jnp.sum(x, _axes(dim), keepdims=keepdim, dtype=dtype)


@rule("aten.mean.default")
def mean_all(x: Array, dtype: Any = None) -> Array:
    """Arithmetic mean of everything."""
    return jnp.mean(x, dtype=dtype)


@rule("aten.sum.default")
def sum_all(x: Array, dtype: Any = None) -> Array:
    """Sum of everything."""
    return jnp.sum(x, dtype=dtype)


@rule("aten.amax.default", policy=along(1, 2, reduces=True))
def amax(x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    """Largest value; equal ones share the derivative, as in torch."""
    return jnp.max(x, _axes(dim), keepdims=keepdim)


@rule("aten.amin.default", policy=along(1, 2, reduces=True))
def amin(x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    """Smallest value; equal ones share the derivative, as in torch."""
    return jnp.min(x, _axes(dim), keepdims=keepdim)


@rule("aten.var.correction")
def var(x: Array, dim: Any = None, correction: Any = 1, keepdim: bool = False) -> Array:
    """Variance with the given correction of the divisor."""
    return jnp.var(x, _axes(dim), ddof=1 if correction is None else correction, keepdims=keepdim)


@rule("aten._softmax.default", "aten.softmax.int", policy=along(1))
def softmax(x: Array, dim: int, *_: Any) -> Array:
    """Softmax along an axis."""
    return jax.nn.softmax(x, dim)


@rule("aten._log_softmax.default", "aten.log_softmax.int", policy=along(1))
def log_softmax(x: Array, dim: int, *_: Any) -> Array:
    """Logarithm of the softmax along an axis."""
    return jax.nn.log_softmax(x, dim)


@rule("aten.max.dim")
def max_dim(x: Array, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
    """Largest value along an axis and its index; the first of equals has the derivative."""
    return _pick(x, jnp.argmax(x, dim, keepdims=True), dim, keepdim)


@rule("aten.min.dim")
def min_dim(x: Array, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
    """Smallest value along an axis and its index; the first of equals has the derivative."""
    return _pick(x, jnp.argmin(x, dim, keepdims=True), dim, keepdim)


def _pick(x: Array, places: Array, dim: int, keepdim: bool) -> tuple[Array, Array]:
    values = jnp.take_along_axis(x, places, dim)
    return (values, places) if keepdim else (jnp.squeeze(values, dim), jnp.squeeze(places, dim))


@rule("aten.argmax.default")
def argmax(x: Array, dim: int | None = None, keepdim: bool = False) -> Array:
    """Index of the largest value."""
    return jnp.argmax(x, dim, keepdims=keepdim)


@rule("aten.any.dim", "aten.any.dims", "aten.any.default")
def any_(x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    """Whether any is true."""
    return jnp.any(x, _axes(dim), keepdims=keepdim)


@rule("aten.all.dim", "aten.all.dims", "aten.all.default")
def all_(x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    """Whether all are true."""
    return jnp.all(x, _axes(dim), keepdims=keepdim)


@rule("aten.cumsum.default")
def cumsum(x: Array, dim: int, dtype: Any = None) -> Array:
    """Running sum along an axis."""
    return jnp.cumsum(x, dim, dtype=dtype)


@rule("aten.prod.dim_int")
def prod(x: Array, dim: int, keepdim: bool = False, dtype: Any = None) -> Array:
    """Product along an axis."""
    return jnp.prod(x, dim, keepdims=keepdim, dtype=dtype)


@rule("aten.linalg_vector_norm.default")
def vector_norm(x: Array, order: float = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Array:
    """P-norm over axes; the derivative of a zero vector is zero."""
    size = absolute(x)
    if order == jnp.inf:
        return jnp.max(size, _axes(dim), keepdims=keepdim)
    if order == 1:
        return jnp.sum(size, _axes(dim), keepdims=keepdim)
    total = jnp.sum(size**order, _axes(dim), keepdims=keepdim)
    zero = total == 0
    return jnp.where(zero, 0.0, jnp.where(zero, 1.0, total) ** (1 / order)).astype(x.dtype)
