"""Reductions and functions along an axis."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from migrator.layout import along
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
