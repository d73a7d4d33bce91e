"""Activation functions with settings or with kinks, where the derivative is torch's; plain ones: ``elementwise``."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from migrator.layout import passing, spatial
from migrator.ops.registry import rule


@rule("aten.leaky_relu.default", policy=passing)
def leaky_relu(x: Array, negative_slope: float = 0.01) -> Array:
    """x where positive, else slope times x; the derivative at zero is the slope."""
    return jnp.where(x > 0, x, negative_slope * x)


@rule("aten.prelu.default", policy=spatial())
def prelu(x: Array, weight: Array) -> Array:
    """Leaky ReLU with a learned slope for each channel, channels in the last axis."""
    return jnp.where(x > 0, x, weight * x)


@rule("aten.hardtanh.default", policy=passing)
def hardtanh(x: Array, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    """x cut to an interval; the derivative on both ends is zero."""
    return jnp.where(x <= min_val, min_val, jnp.where(x >= max_val, max_val, x)).astype(x.dtype)


@rule("aten.relu6.default", policy=passing)
def relu6(x: Array) -> Array:
    """Hardtanh between 0 and 6."""
    return hardtanh(x, 0.0, 6.0)


@rule("aten.threshold.default", policy=passing)
def threshold(x: Array, limit: float, value: float) -> Array:
    """x above the limit, else the value."""
    return jnp.where(x > limit, x, value).astype(x.dtype)


@rule("aten.gelu.default", policy=passing)
def gelu(x: Array, approximate: str = "none") -> Array:
    """Gaussian error linear unit, exact unless ``approximate='tanh'``."""
    return jax.nn.gelu(x, approximate=approximate == "tanh")


@rule("aten.elu.default", policy=passing)
def elu(x: Array, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Array:
    """Exponential linear unit; ``selu`` and ``celu`` are settings of it."""
    negative = jnp.where(x > 0, 0.0, x * input_scale)
    return jnp.where(x > 0, x * scale, alpha * scale * jnp.expm1(negative))


@rule("aten.selu.default", policy=passing)
def selu(x: Array) -> Array:
    """Self-normalising exponential linear unit (Klambauer et al. 2017)."""
    return elu(x, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _celu(x: Array, alpha: float) -> Array:
    return elu(x, alpha, 1.0, 1.0 / alpha)


@_celu.defjvp
def _celu_jvp(alpha: float, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (direction,) = primals, tangents
    rate = 1.0 / float(np.float32(alpha))
    slope = jnp.where(x > 0, 1.0, rate * alpha * jnp.exp(jnp.where(x > 0, 0.0, x) * rate))
    return _celu(x, alpha), (slope * direction).astype(x.dtype)


@rule("aten.celu.default", policy=passing)
def celu(x: Array, alpha: float = 1.0) -> Array:
    """Continuously differentiable exponential linear unit; in its derivative torch rounds alpha to float32."""
    return _celu(x, alpha)


@rule("aten.rrelu.default", policy=passing)
def rrelu(x: Array, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, *_: Any) -> Array:
    """Leaky ReLU with the mean of the slopes from which it draws in training."""
    return leaky_relu(x, (lower + upper) / 2)


@rule("aten.softplus.default", policy=passing)
def softplus(x: Array, beta: float = 1.0, limit: float = 20.0) -> Array:
    """log(1 + exp(beta x)) / beta, linear above the limit."""
    scaled = x * beta
    return jnp.where(scaled > limit, x, jnp.logaddexp(jnp.where(scaled > limit, 0.0, scaled), 0.0) / beta)


@rule("aten.mish.default", policy=passing)
def mish(x: Array) -> Array:
    """x tanh(softplus(x))."""
    return x * jnp.tanh(softplus(x))


@rule("aten.hardswish.default", policy=passing)
def hardswish(x: Array) -> Array:
    """x times hardsigmoid of x, with torch's derivatives at -3 and 3."""
    return jnp.where(x <= -3, 0.0, jnp.where(x < 3, x * (x + 3) / 6, x)).astype(x.dtype)


SIXTH = float(np.float32(1 / 6))
"""The slope in torch's derivative of hardsigmoid, which is rounded to float32 in every precision."""


@jax.custom_jvp
def _hardsigmoid(x: Array) -> Array:
    return jnp.where(x <= -3, 0.0, jnp.where(x >= 3, 1.0, x / 6 + 0.5)).astype(x.dtype)


@_hardsigmoid.defjvp
def _hardsigmoid_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (direction,) = primals, tangents
    return _hardsigmoid(x), jnp.where(jnp.abs(x) < 3, SIXTH * direction, 0.0).astype(x.dtype)


@rule("aten.hardsigmoid.default", policy=passing)
def hardsigmoid(x: Array) -> Array:
    """x / 6 + 1 / 2 cut to [0, 1]; the derivative on both ends is zero."""
    return _hardsigmoid(x)
