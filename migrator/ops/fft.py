"""Complex numbers, and Fourier transforms."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from migrator.ops.registry import rule


@rule("aten.complex.default")
def complex_(real: Array, imag: Array) -> Array:
    """real + i imag."""
    return lax.complex(*jnp.broadcast_arrays(real, imag))


@rule("aten.polar.default")
def polar(size: Array, angles: Array) -> Array:
    """size exp(i angle)."""
    return complex_(size * jnp.cos(angles), size * jnp.sin(angles))


@rule("aten.view_as_real.default", "aten.view_as_real_copy.default")
def view_as_real(x: Array) -> Array:
    """Real and imaginary part in a new last axis."""
    return jnp.stack([x.real, x.imag], -1)


@rule("aten.view_as_complex.default", "aten.view_as_complex_copy.default")
def view_as_complex(x: Array) -> Array:
    """The last axis, of two, as real and imaginary part."""
    return lax.complex(x[..., 0], x[..., 1])


@rule("aten.real.default")
def real_part(x: Array) -> Array:
    """The real part."""
    return jnp.real(x)


@rule("aten.imag.default")
def imaginary_part(x: Array) -> Array:
    """The imaginary part."""
    return jnp.imag(x)


@rule("aten._conj.default", "aten._conj_physical.default", "aten.conj_physical.default", "aten._conj_copy.default")
def conjugate(x: Array) -> Array:
    """The complex conjugate."""
    return jnp.conj(x)


@rule("aten._neg_view.default", "aten._neg_view_copy.default")
def negative(x: Array) -> Array:
    """-x."""
    return -x


@rule("aten.angle.default")
def angle(x: Array) -> Array:
    """The argument of complex numbers, pi of negative real ones; the derivative at zero is zero."""
    zero = x == 0
    return jnp.where(zero, lax.stop_gradient(jnp.angle(x)), jnp.angle(jnp.where(zero, jnp.ones_like(x), x)))


def _scaled(y: Array, count: int, normalization: int) -> Array:
    """A bare transform of so many points divided by nothing (0), their number's root (1), or their number (2)."""
    return y if normalization == 0 else y / (math.sqrt(count) if normalization == 1 else count)


@rule("aten._fft_r2c.default")
def fft_of_real(x: Array, dims: tuple[int, ...], normalization: int, onesided: bool) -> Array:
    """The Fourier transform of real numbers; ``onesided`` keeps half of the last axis."""
    y = jnp.fft.rfftn(x, axes=dims) if onesided else jnp.fft.fftn(x, axes=dims)
    return _scaled(y, math.prod(x.shape[dim] for dim in dims), normalization)


@rule("aten._fft_c2r.default")
def fft_to_real(x: Array, dims: tuple[int, ...], normalization: int, last_size: int) -> Array:
    """The inverse of a one-sided transform, whose last axis has so many points."""
    sizes = (*(x.shape[dim] for dim in dims[:-1]), last_size)
    return _scaled(jnp.fft.irfftn(x, sizes, dims, norm="forward"), math.prod(sizes), normalization)


@rule("aten._fft_c2c.default")
def fft_complex(x: Array, dims: tuple[int, ...], normalization: int, forward: bool) -> Array:
    """The Fourier transform of complex numbers, or its inverse."""
    y: Any = jnp.fft.fftn(x, axes=dims) if forward else jnp.fft.ifftn(x, axes=dims, norm="forward")
    return _scaled(y, math.prod(x.shape[dim] for dim in dims), normalization)
