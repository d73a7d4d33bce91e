"""Elementwise operators; where a function has a kink its derivative there is torch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from migrator.layout import passing, pointwise
from migrator.ops.registry import rule


def identity(x: Array) -> Array:
    """x itself."""
    return x


UNARY: dict[str, Callable[[Array], Array]] = {
    "acos": jnp.arccos,
    "acosh": jnp.arccosh,
    "alias": identity,
    "asin": jnp.arcsin,
    "asinh": jnp.arcsinh,
    "atan": jnp.arctan,
    "atanh": jnp.arctanh,
    "bitwise_not": jnp.bitwise_not,
    "ceil": jnp.ceil,
    "clone": identity,
    "cos": jnp.cos,
    "cosh": jnp.cosh,
    "detach": lax.stop_gradient,
    "digamma": jax.scipy.special.digamma,
    "erf": jax.scipy.special.erf,
    "erfc": jax.scipy.special.erfc,
    "erfinv": jax.scipy.special.erfinv,
    "exp": jnp.exp,
    "exp2": jnp.exp2,
    "expm1": jnp.expm1,
    "floor": jnp.floor,
    "isinf": jnp.isinf,
    "isnan": jnp.isnan,
    "lgamma": jax.scipy.special.gammaln,
    "lift_fresh_copy": identity,
    "log": jnp.log,
    "log10": jnp.log10,
    "log1p": jnp.log1p,
    "log2": jnp.log2,
    "log_sigmoid": jax.nn.log_sigmoid,
    "logical_not": jnp.logical_not,
    "neg": jnp.negative,
    "reciprocal": jnp.reciprocal,
    "relu": jax.nn.relu,
    "round": jnp.round,
    "sigmoid": jax.nn.sigmoid,
    "sign": jnp.sign,
    "signbit": jnp.signbit,
    "silu": jax.nn.silu,
    "sin": jnp.sin,
    "sinc": jnp.sinc,
    "sinh": jnp.sinh,
    "special_erfcx": jax.scipy.special.erfcx,
    "special_i0e": jax.scipy.special.i0e,
    "special_i1": jax.scipy.special.i1,
    "special_i1e": jax.scipy.special.i1e,
    "special_ndtri": jax.scipy.special.ndtri,
    "sqrt": jnp.sqrt,
    "square": jnp.square,
    "tan": jnp.tan,
    "tanh": jnp.tanh,
    "trunc": jnp.trunc,
}

BINARY: dict[str, Callable[[Any, Any], Array]] = {
    "__lshift__": jnp.left_shift,
    "__rshift__": jnp.right_shift,
    "bitwise_and": jnp.bitwise_and,
    "bitwise_left_shift": jnp.left_shift,
    "bitwise_or": jnp.bitwise_or,
    "bitwise_right_shift": jnp.right_shift,
    "bitwise_xor": jnp.bitwise_xor,
    "eq": jnp.equal,
    "fmod": jnp.fmod,
    "gcd": jnp.gcd,
    "ge": jnp.greater_equal,
    "gt": jnp.greater,
    "hypot": jnp.hypot,
    "igamma": jax.scipy.special.gammainc,
    "igammac": jax.scipy.special.gammaincc,
    "lcm": jnp.lcm,
    "le": jnp.less_equal,
    "logical_and": jnp.logical_and,
    "logical_or": jnp.logical_or,
    "logical_xor": jnp.logical_xor,
    "lt": jnp.less,
    "maximum": jnp.maximum,
    "minimum": jnp.minimum,
    "mul": jnp.multiply,
    "ne": jnp.not_equal,
    "remainder": jnp.remainder,
    "special_zeta": jax.scipy.special.zeta,
}


for _name, _unary in UNARY.items():
    rule(f"aten.{_name}.default", policy=passing)(_unary)

for _name, _binary in BINARY.items():
    for _kind in ("default", "Tensor", "Scalar", "Tensor_Tensor", "Tensor_Scalar"):
        rule(f"aten.{_name}.{_kind}", policy=pointwise)(_binary)


@rule("aten.abs.default", policy=passing)
def absolute(x: Array) -> Array:
    """|x|; the derivative at zero is zero, where JAX's own has one."""
    size = jnp.abs(x)
    return jnp.where(x == 0, jnp.zeros_like(size), size)


@rule("aten.sgn.default", policy=passing)
def sgn(x: Array) -> Array:
    """x / |x|, zero where x is; there the derivative is zero."""
    if not jnp.iscomplexobj(x):
        return jnp.sign(x)
    zero = x == 0
    safe = jnp.where(zero, jnp.ones_like(x), x)
    return jnp.where(zero, 0, safe / jnp.abs(safe))


@jax.custom_jvp
def _i0(x: Array) -> Array:
    return jax.scipy.special.i0(x)


@_i0.defjvp
def _i0_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (direction,) = primals, tangents
    return _i0(x), jax.scipy.special.i1(x) * direction


@rule("aten.i0.default", policy=passing)
def bessel_i0(x: Array) -> Array:
    """The modified Bessel function of order zero; JAX's own has a derivative at zero."""
    return _i0(x)


@rule("aten.atan2.default", policy=pointwise)
def atan2(y: Array, x: Array) -> Array:
    """The angle of the point (x, y); the derivative at the origin is zero."""
    origin = (x == 0) & (y == 0)
    value = jnp.arctan2(jnp.where(origin, 0.0, y), jnp.where(origin, 1.0, x))
    return jnp.where(origin, lax.stop_gradient(jnp.arctan2(y, x)), value)


@rule("aten.pow.Tensor_Tensor", "aten.pow.Tensor_Scalar", "aten.pow.Scalar", policy=pointwise)
def power(x: Any, y: Any) -> Array:
    """x to the power of y; the derivatives of zero to the power of zero are zero."""
    if isinstance(y, int | float):
        return jnp.power(x, y)
    corner = (x == 0) & (y == 0)
    return jnp.power(jnp.where(corner, jnp.ones_like(x), x), y)


@rule("aten.rsqrt.default", policy=passing)
def rsqrt(x: Array) -> Array:
    """1 / sqrt(x), of integers too."""
    return lax.rsqrt(x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(float))


@rule("aten.round.decimals", policy=passing)
def round_decimals(x: Array, decimals: int = 0) -> Array:
    """x rounded to a number of digits after the point."""
    return jnp.round(x, decimals)


@rule("aten.polygamma.default", policy=pointwise)
def polygamma(n: int, x: Array) -> Array:
    """The n-th derivative of the digamma function."""
    return jax.scipy.special.polygamma(n, x)


@rule("aten.fmax.default", policy=pointwise)
def fmax(x: Array, y: Array) -> Array:
    """The larger one, or the one that is a number; equal ones share the derivative."""
    return jnp.where(jnp.isnan(y), x, jnp.where(jnp.isnan(x), y, jnp.maximum(x, y)))


@rule("aten.fmin.default", policy=pointwise)
def fmin(x: Array, y: Array) -> Array:
    """The smaller one, or the one that is a number; equal ones share the derivative."""
    return jnp.where(jnp.isnan(y), x, jnp.where(jnp.isnan(x), y, jnp.minimum(x, y)))


@rule("aten.copysign.Tensor", "aten.copysign.Scalar", policy=pointwise)
def copysign(x: Array, y: Any) -> Array:
    """x with the sign of y; the derivative at zero is zero."""
    value = jnp.copysign(x, y)
    return jnp.where(x == 0, lax.stop_gradient(value), value)


@rule("aten.ldexp.Tensor", policy=pointwise)
def ldexp(x: Array, power: Array) -> Array:
    """x times two to a power."""
    return x * jnp.exp2(power)


@rule("aten.xlogy.Tensor", "aten.xlogy.Scalar_Self", "aten.xlogy.Scalar_Other", policy=pointwise)
def xlogy(x: Any, y: Any) -> Array:
    """x log y, zero where x is; there the derivative is log y, or zero where that has no number."""
    dead = (x == 0) & (y <= 0)
    return jnp.where(dead, 0.0, jax.scipy.special.xlogy(x, jnp.where(dead, 1.0, y)))


@rule("aten.special_xlog1py.default", policy=pointwise)
def xlog1py(x: Any, y: Any) -> Array:
    """x log(1 + y), zero where x is; there the derivative is log(1 + y), or zero where that has no number."""
    dead = (x == 0) & (y <= -1)
    return jnp.where(dead, 0.0, jax.scipy.special.xlog1py(x, jnp.where(dead, 0.0, y)))


@rule("aten.add.Tensor", "aten.add.Scalar", policy=pointwise)
def add(x: Any, y: Any, alpha: Any = 1) -> Array:
    """x + alpha y."""
    return jnp.add(x, y if alpha == 1 else jnp.multiply(y, alpha))


@rule("aten.sub.Tensor", "aten.sub.Scalar", policy=pointwise)
def sub(x: Any, y: Any, alpha: Any = 1) -> Array:
    """x - alpha y."""
    return jnp.subtract(x, y if alpha == 1 else jnp.multiply(y, alpha))


@rule("aten.rsub.Tensor", "aten.rsub.Scalar", policy=pointwise)
def rsub(x: Any, y: Any, alpha: Any = 1) -> Array:
    """y - alpha x."""
    return sub(y, x, alpha)


@rule("aten.div.Tensor", "aten.div.Scalar", "aten.div.Tensor_mode", "aten.div.Scalar_mode", policy=pointwise)
def div(x: Any, y: Any, rounding_mode: str | None = None) -> Array:
    """x / y, rounded as asked; a rounded quotient has derivative zero."""
    if rounding_mode == "floor":
        return lax.stop_gradient(jnp.floor_divide(x, y))
    quotient = jnp.true_divide(x, y)
    if rounding_mode == "trunc":
        rounded = lax.stop_gradient(jnp.trunc(quotient))
        return rounded if jnp.issubdtype(jnp.result_type(x, y), jnp.floating) else rounded.astype(jnp.result_type(x, y))
    return quotient


@rule("aten.clamp.default", "aten.clamp_min.default", policy=passing)
def clamp(x: Array, low: Any = None, high: Any = None, **bounds: Any) -> Array:
    """x cut to an interval of numbers; the derivative on both ends is zero."""
    low, high = bounds.get("min", low), bounds.get("max", high)
    kept = x if low is None else jnp.where(x <= low, low, x)
    return (kept if high is None else jnp.where(kept >= high, high, kept)).astype(jnp.result_type(x))


@rule("aten.clamp_max.default", policy=passing)
def clamp_max(x: Array, high: Any) -> Array:
    """x cut from above."""
    return clamp(x, None, high)


@rule("aten.clamp.Tensor", "aten.clamp_min.Tensor", policy=pointwise)
def clamp_tensor(x: Array, low: Any = None, high: Any = None, **bounds: Any) -> Array:
    """x cut to an interval of tensors; on an end both share the derivative."""
    low, high = bounds.get("min", low), bounds.get("max", high)
    kept = x if low is None else jnp.maximum(x, low)
    return kept if high is None else jnp.minimum(kept, high)


@rule("aten.clamp_max.Tensor", policy=pointwise)
def clamp_max_tensor(x: Array, high: Array) -> Array:
    """x cut from above by a tensor."""
    return jnp.minimum(x, high)


@rule("aten.where.self", "aten.where.ScalarOther", "aten.where.ScalarSelf", "aten.where.Scalar", policy=pointwise)
def where(condition: Array, x: Any, y: Any) -> Array:
    """x where the condition holds, else y."""
    return jnp.where(condition, x, y)


@rule("aten.masked_fill.Scalar", "aten.masked_fill.Tensor", policy=pointwise)
def masked_fill(x: Array, mask: Array, value: Any) -> Array:
    """The value where the mask holds, else x."""
    return jnp.where(mask, jnp.asarray(value, x.dtype), x)


@rule("aten._to_copy.default", "aten.to.dtype", policy=passing)
def to_copy(x: Array, dtype: Any = None, *_: Any, **__: Any) -> Array:
    """The same numbers in another type."""
    return x if dtype is None else x.astype(dtype)


@rule("aten.zeros_like.default", policy=passing)
def zeros_like(x: Array, dtype: Any = None) -> Array:
    """Zeros in the shape of x."""
    return jnp.zeros_like(x, dtype=dtype)


@rule("aten.ones_like.default", policy=passing)
def ones_like(x: Array, dtype: Any = None) -> Array:
    """Ones in the shape of x."""
    return jnp.ones_like(x, dtype=dtype)
