"""Shapes, views, joins, and the arithmetic of sizes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from migrator.layout import along, passing
from migrator.ops.registry import rule

ARITHMETIC: dict[str, Callable[..., Any]] = {
    name: getattr(operator, name)
    for name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "eq", "ne", "lt", "le", "gt", "ge")
} | {"pow": operator.pow}

for _name, _function in ARITHMETIC.items():
    rule(f"operator.{_name}")(_function)
rule("torch.sym_max")(max)
rule("torch.sym_min")(min)
rule("torch.sym_int", "math.trunc")(int)
rule("math.ceil")(math.ceil)
rule("math.floor")(math.floor)


@rule("operator.getitem", policy=passing)
def getitem(values: Any, index: int) -> Any:
    """One of several results."""
    return values[index]


@rule("aten.sym_size.int")
def sym_size(x: Array, dim: int) -> int:
    """Size of one axis."""
    return x.shape[dim]


@rule("aten.view.default", "aten.reshape.default", "aten._unsafe_view.default")
def view(x: Array, shape: tuple[int, ...]) -> Array:
    """The same numbers in torch's order with another shape."""
    return x.reshape(shape)


@rule("aten.permute.default")
def permute(x: Array, dims: tuple[int, ...]) -> Array:
    """Axes in another order."""
    return jnp.transpose(x, tuple(axis % x.ndim for axis in dims))


@rule("aten.transpose.int")
def transpose(x: Array, first: int, second: int) -> Array:
    """Two axes exchanged."""
    return jnp.swapaxes(x, first, second)


@rule("aten.t.default")
def t(x: Array) -> Array:
    """A matrix transposed."""
    return x.T


@rule("aten.squeeze.default")
def squeeze(x: Array) -> Array:
    """Without all axes of size one."""
    return jnp.squeeze(x)


@rule("aten.squeeze.dim", "aten.squeeze.dims")
def squeeze_dims(x: Array, dims: Any) -> Array:
    """Without the named axes, where their size is one."""
    axes = dims if isinstance(dims, tuple) else (dims,)
    return jnp.squeeze(x, tuple(axis % x.ndim for axis in axes if x.shape[axis] == 1))


@rule("aten.unsqueeze.default")
def unsqueeze(x: Array, dim: int) -> Array:
    """With a new axis."""
    return jnp.expand_dims(x, dim)


@rule("aten.expand.default")
def expand(x: Array, shape: tuple[int, ...], implicit: bool = False) -> Array:
    """Repeated along axes of size one; -1 keeps an axis."""
    old = (1,) * (len(shape) - x.ndim) + x.shape
    return jnp.broadcast_to(x, tuple(o if n == -1 else n for n, o in zip(shape, old, strict=True)))


@rule("aten.repeat.default")
def repeat(x: Array, times: tuple[int, ...]) -> Array:
    """Tiled."""
    return jnp.tile(x, times)


@rule("aten.cat.default", policy=along(1, default=0))
def cat(values: tuple[Array, ...], dim: int = 0) -> Array:
    """Joined along an axis; an empty vector is skipped, as in torch."""
    kept = [value for value in values if value.shape != (0,)] or list(values)
    return jnp.concatenate(kept, dim)


@rule("aten.stack.default")
def stack(values: tuple[Array, ...], dim: int = 0) -> Array:
    """Joined along a new axis."""
    return jnp.stack(values, dim)


@rule("aten.slice.Tensor")
def slice_(x: Array, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Array:
    """A range of one axis."""
    index: list[Any] = [slice(None)] * x.ndim
    index[dim] = slice(start, end, step)
    return x[tuple(index)]


@rule("aten.select.int")
def select(x: Array, dim: int, index: int) -> Array:
    """One position of one axis."""
    position: list[Any] = [slice(None)] * x.ndim
    position[dim] = index
    return x[tuple(position)]


@rule("aten.split_with_sizes.default", policy=along(2, default=0))
def split_with_sizes(x: Array, sizes: tuple[int, ...], dim: int = 0) -> tuple[Array, ...]:
    """Cut into parts of given sizes."""
    ends = [sum(sizes[:i]) for i in range(1, len(sizes))]
    return tuple(jnp.split(x, ends, dim))


@rule("aten.split.Tensor", policy=along(2, default=0))
def split(x: Array, size: int, dim: int = 0) -> tuple[Array, ...]:
    """Cut into parts of one size, the last may be smaller."""
    return tuple(jnp.split(x, list(range(size, x.shape[dim], size)), dim))


@rule("aten.unbind.int")
def unbind(x: Array, dim: int = 0) -> tuple[Array, ...]:
    """All positions of one axis."""
    return tuple(jnp.moveaxis(x, dim, 0))


@rule("aten.flip.default", policy=along(1))
def flip(x: Array, dims: Any) -> Array:
    """Axes reversed."""
    return jnp.flip(x, dims)


@rule("aten.constant_pad_nd.default")
def constant_pad(x: Array, pad: tuple[int, ...], value: Any = 0) -> Array:
    """Padded (or cut, where negative) with a constant; pairs count from the last axis."""
    pairs = [(pad[i], pad[i + 1], 0) for i in range(0, len(pad), 2)]
    widths = [(0, 0, 0)] * (x.ndim - len(pairs)) + pairs[::-1]
    return lax.pad(x, jnp.asarray(value, x.dtype), widths)


@rule("aten.full.default")
def full(shape: tuple[int, ...], value: Any, dtype: Any = None) -> Array:
    """A constant array."""
    return jnp.full(shape, value, dtype)


@rule("aten.zeros.default")
def zeros(shape: tuple[int, ...], dtype: Any = None) -> Array:
    """Zeros."""
    return jnp.zeros(shape, dtype)


@rule("aten.ones.default")
def ones(shape: tuple[int, ...], dtype: Any = None) -> Array:
    """Ones."""
    return jnp.ones(shape, dtype)


@rule("aten.arange.start_step", "aten.arange.start", "aten.arange.default")
def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None) -> Array:
    """Equally spaced numbers."""
    return jnp.arange(start, stop, step, dtype=dtype)


@rule("aten.full_like.default")
def full_like(x: Array, value: Any, dtype: Any = None) -> Array:
    """A constant array in the shape of x."""
    return jnp.full_like(x, value, dtype=dtype)


@rule("aten.scalar_tensor.default")
def scalar_tensor(value: Any, dtype: Any = None) -> Array:
    """A number as a tensor."""
    return jnp.asarray(value, dtype)


@rule("aten.empty.memory_format", "aten.empty_permuted.default", "aten.empty_strided.default")
def empty(shape: tuple[int, ...], *_: Any, dtype: Any = None) -> Array:
    """An array whose values are all written later; zeros here."""
    return jnp.zeros(shape, dtype)


@rule("aten.new_zeros.default")
def new_zeros(x: Array, shape: tuple[int, ...], dtype: Any = None) -> Array:
    """Zeros in the type of x."""
    return jnp.zeros(shape, x.dtype if dtype is None else dtype)


@rule("aten.new_ones.default")
def new_ones(x: Array, shape: tuple[int, ...], dtype: Any = None) -> Array:
    """Ones in the type of x."""
    return jnp.ones(shape, x.dtype if dtype is None else dtype)


@rule("aten.roll.default")
def roll(x: Array, shifts: tuple[int, ...], dims: tuple[int, ...] = ()) -> Array:
    """Positions shifted around; without axes, of the flattened array."""
    return jnp.roll(x, shifts, dims) if dims else jnp.roll(x.ravel(), shifts[0]).reshape(x.shape)


@rule("aten.unfold.default")
def unfold(x: Array, dim: int, size: int, step: int) -> Array:
    """Windows along an axis, each in a new last axis."""
    axis = dim % x.ndim
    places = np.arange(0, x.shape[axis] - size + 1, step)[:, None] + np.arange(size)
    return jnp.moveaxis(jnp.take(x, places, axis), axis + 1, -1)


@rule("aten.diagonal.default", "aten.diagonal_copy.default")
def diagonal(x: Array, offset: int = 0, first: int = 0, second: int = 1) -> Array:
    """A diagonal of two axes as the last axis."""
    return jnp.diagonal(x, offset, first, second)


@rule("aten.diagonal_scatter.default")
def diagonal_scatter(x: Array, source: Array, offset: int = 0, first: int = 0, second: int = 1) -> Array:
    """x with a diagonal of two axes replaced."""
    last = jnp.moveaxis(x, (first, second), (-2, -1))
    steps = np.arange(source.shape[-1])
    placed = last.at[..., steps + max(-offset, 0), steps + max(offset, 0)].set(source)
    return jnp.moveaxis(placed, (-2, -1), (first, second))


def _strided(size: tuple[int, ...], stride: tuple[int, ...], offset: int | None) -> Array:
    """The places of a flattened array that a view with these strides has."""
    places = jnp.asarray(offset or 0)
    for length, step in zip(size, stride, strict=True):
        places = places[..., None] + jnp.arange(length) * step
    return places


@rule("aten.as_strided.default", "aten.as_strided_copy.default")
def as_strided(x: Array, size: tuple[int, ...], stride: tuple[int, ...], offset: int | None = None) -> Array:
    """A view with any strides of an array that is stored in torch's order."""
    return x.ravel()[_strided(size, stride, offset)]


@rule("aten.as_strided_scatter.default")
def as_strided_scatter(
    x: Array, source: Array, size: tuple[int, ...], stride: tuple[int, ...], offset: int | None = None
) -> Array:
    """x, stored in torch's order, with the places of such a view replaced."""
    return x.ravel().at[_strided(size, stride, offset)].set(source).reshape(x.shape)


@rule("aten.tril_indices.default")
def tril_indices(rows: int, columns: int, offset: int = 0, dtype: Any = None) -> Array:
    """Where the lower triangle of a matrix is."""
    return jnp.asarray(np.stack(np.tril_indices(rows, offset, columns)), dtype)


@rule("aten.triu_indices.default")
def triu_indices(rows: int, columns: int, offset: int = 0, dtype: Any = None) -> Array:
    """Where the upper triangle of a matrix is."""
    return jnp.asarray(np.stack(np.triu_indices(rows, offset, columns)), dtype)
