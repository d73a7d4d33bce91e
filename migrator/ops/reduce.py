"""Reductions and functions along an axis."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

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


@rule("aten.var_mean.correction")
def var_mean(x: Array, dim: Any = None, correction: Any = 1, keepdim: bool = False) -> tuple[Array, Array]:
    """Variance with the given correction of the divisor, and mean."""
    return var(x, dim, correction, keepdim), mean(x, dim, keepdim)


@rule("aten.std.correction")
def std(x: Array, dim: Any = None, correction: Any = 1, keepdim: bool = False) -> Array:
    """Square root of the variance; its derivative is zero where all are equal."""
    square = var(x, dim, correction, keepdim)
    return jnp.where(square == 0, 0.0, jnp.sqrt(jnp.where(square == 0, 1.0, square))).astype(square.dtype)


@rule("aten.std_mean.correction")
def std_mean(x: Array, dim: Any = None, correction: Any = 1, keepdim: bool = False) -> tuple[Array, Array]:
    """Standard deviation, and mean."""
    return std(x, dim, correction, keepdim), mean(x, dim, keepdim)


@rule("aten.max.default")
def max_all(x: Array) -> Array:
    """Largest value of everything; equal ones share the derivative."""
    return jnp.max(x)


@rule("aten.min.default")
def min_all(x: Array) -> Array:
    """Smallest value of everything; equal ones share the derivative."""
    return jnp.min(x)


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
    return pick(x, jnp.argmax(x, dim, keepdims=True), dim, keepdim)


@rule("aten.min.dim")
def min_dim(x: Array, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
    """Smallest value along an axis and its index; the first of equals has the derivative."""
    return pick(x, jnp.argmin(x, dim, keepdims=True), dim, keepdim)


def pick(x: Array, places: Array, dim: int, keepdim: bool) -> tuple[Array, Array]:
    """The values at one position of an axis each, and the positions.

    Args:
        x: any array.
        places: positions along the axis, of size one there and as x along the others.
        dim: the axis.
        keepdim: whether the axis stays, with size one.

    """
    values = jnp.take_along_axis(x, places, dim)
    return (values, places) if keepdim else (jnp.squeeze(values, dim), jnp.squeeze(places, dim))


@rule("aten.argmax.default")
def argmax(x: Array, dim: int | None = None, keepdim: bool = False) -> Array:
    """Index of the largest value."""
    return jnp.argmax(x, dim, keepdims=keepdim)


@rule("aten.argmin.default")
def argmin(x: Array, dim: int | None = None, keepdim: bool = False) -> Array:
    """Index of the smallest value."""
    return jnp.argmin(x, dim, keepdims=keepdim)


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


@rule("aten.cumprod.default")
def cumprod(x: Array, dim: int, dtype: Any = None) -> Array:
    """Running product along an axis."""
    return jnp.cumprod(x, dim, dtype=dtype)


@rule("aten.logcumsumexp.default")
def logcumsumexp(x: Array, dim: int) -> Array:
    """Logarithm of the running sum of exponentials along an axis."""
    return lax.cumlogsumexp(x, dim % x.ndim)


@rule("aten.prod.dim_int")
def prod(x: Array, dim: int, keepdim: bool = False, dtype: Any = None) -> Array:
    """Product along an axis."""
    return jnp.prod(x, dim, keepdims=keepdim, dtype=dtype)


@rule("aten.prod.default")
def prod_all(x: Array, dtype: Any = None) -> Array:
    """Product of everything."""
    return jnp.prod(x, dtype=dtype)


@rule("aten.linalg_vector_norm.default")
def vector_norm(x: Array, order: float = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Array:
    """p-norm over axes, for p = 0 the number of others than zero; the derivative of a zero vector is zero."""
    size = absolute(x if dtype is None else x.astype(dtype))
    axes = _axes(dim)
    if order == jnp.inf:
        return jnp.max(size, axes, keepdims=keepdim)
    if order == -jnp.inf:
        return jnp.min(size, axes, keepdims=keepdim)
    if order == 0:
        return jnp.sum(size != 0, axes, keepdims=keepdim).astype(size.dtype)
    if order == 1:
        return jnp.sum(size, axes, keepdims=keepdim)
    powers = (
        size**order
        if order > 1
        else jnp.where(size == 0, 0.0 if order > 0 else jnp.inf, jnp.where(size == 0, 1.0, size) ** order)
    )
    total = jnp.sum(powers, axes, keepdims=keepdim)
    zero = total == 0
    return jnp.where(zero, 0.0, jnp.where(zero, 1.0, total) ** (1 / order)).astype(size.dtype)


@rule("aten.dist.default")
def dist(x: Array, y: Array, order: float = 2) -> Array:
    """p-norm of a difference."""
    return vector_norm(x - y, order)
