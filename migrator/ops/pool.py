"""Pools with torch's windows: explicit padding, ceil mode, exact adaptive bins."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from migrator.layout import spatial
from migrator.ops.registry import rule


def _each(value: Any, axes: int) -> tuple[int, ...]:
    values = value if isinstance(value, tuple) else (value,)
    return values * axes if len(values) == 1 else values


def _overhang(size: int, window: int, stride: int, pad: int, ceil_mode: bool) -> int:
    """Rows beyond the right padding that the last window needs (torch drops a window starting in the padding)."""
    room = size + 2 * pad - window
    steps = -(-room // stride) if ceil_mode else room // stride
    if ceil_mode and steps * stride >= size + pad:
        steps -= 1
    return max(0, steps * stride - room)


def _windows(x: Array, axes: int, window: Any, stride: Any, padding: Any, ceil_mode: bool, dilation: Any = 1) -> Any:
    size, step, pad = _each(window, axes), _each(stride or window, axes), _each(padding, axes)
    spread = _each(dilation, axes)
    spans = [gap * (width - 1) + 1 for gap, width in zip(spread, size, strict=True)]
    shape = x.shape[1:-1]
    over = [_overhang(*entry, ceil_mode) for entry in zip(shape, spans, step, pad, strict=True)]
    return size, step, spread, pad, over


def _max_pool(axes: int) -> Any:
    def apply(
        x: Array, window: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> Array:
        if x.ndim == axes + 1:
            return apply(x[None], window, stride, padding, dilation, ceil_mode)[0]
        size, step, spread, pad, over = _windows(x, axes, window, stride, padding, ceil_mode, dilation)
        lowest = np.asarray(-np.inf if jnp.issubdtype(x.dtype, jnp.floating) else np.iinfo(x.dtype).min, x.dtype)
        pads = [(0, 0), *((p, p + extra) for p, extra in zip(pad, over, strict=True)), (0, 0)]
        if max(spread) > 1:
            return _dilated_max(lax.pad(x, lowest, [(*ends, 0) for ends in pads]), size, step, spread)
        return lax.reduce_window(x, lowest, lax.max, (1, *size, 1), (1, *step, 1), pads)

    return apply


def _without_indices(pool: Any) -> Any:
    def apply(*args: Any) -> tuple[Array, Array]:
        return pool(*args), jnp.zeros((0,), jnp.int32)

    return apply


def _dilated_max(x: Array, size: tuple[int, ...], step: tuple[int, ...], spread: tuple[int, ...]) -> Array:
    """Maximum over spread-out windows, the first of equals: JAX has no derivative of a dilated window."""
    counts = [
        (length - gap * (width - 1) - 1) // stride + 1
        for length, width, stride, gap in zip(x.shape[1:-1], size, step, spread, strict=True)
    ]
    shifted = []
    for offset in np.ndindex(*size):
        starts = [gap * position for gap, position in zip(spread, offset, strict=True)]
        places = zip(starts, counts, step, strict=True)
        ranges = [slice(start, start + (count - 1) * stride + 1, stride) for start, count, stride in places]
        shifted.append(x[(slice(None), *ranges)])
    windows = jnp.stack(shifted)
    return jnp.take_along_axis(windows, jnp.argmax(windows, 0, keepdims=True), 0)[0]


def _avg_pool(axes: int) -> Any:
    def apply(
        x: Array,
        window: Any,
        stride: Any = (),
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Array:
        if x.ndim == axes + 1:
            return apply(x[None], window, stride, padding, ceil_mode, count_include_pad, divisor_override)[0]
        size, step, _, pad, over = _windows(x, axes, window, stride, padding, ceil_mode)
        pads = [(0, 0), *((p, p + extra) for p, extra in zip(pad, over, strict=True)), (0, 0)]
        zero = np.zeros((), x.dtype)
        total = lax.reduce_window(x, zero, lax.add, (1, *size, 1), (1, *step, 1), pads)
        if divisor_override is not None:
            return total / divisor_override
        counts: np.ndarray = np.ones((), np.float64)
        for axis in range(axes):
            length = x.shape[1 + axis]
            entry = (length, size[axis], step[axis], pad[axis], over[axis])
            counts = np.multiply.outer(counts, _counts(*entry, count_include_pad))
        return total / jnp.asarray(counts[None, ..., None], x.dtype)

    return apply


def _counts(length: int, window: int, stride: int, pad: int, over: int, include_pad: bool) -> np.ndarray:
    """Divisor of each window along one axis: explicit padding may count, the overhang of ceil mode never."""
    starts = np.arange(-pad, length + pad + over - window + 1, stride)
    low, high = (-pad, length + pad) if include_pad else (0, length)
    return np.minimum(starts + window, high) - np.maximum(starts, low)


def _bins(size: int, bins: int) -> list[tuple[int, int]]:
    """Torch's adaptive bins: floor(i size / bins) up to ceil((i + 1) size / bins)."""
    return [(i * size // bins, -(-(i + 1) * size // bins)) for i in range(bins)]


def _adaptive_avg_pool(axes: int) -> Any:
    def apply(x: Array, output_size: Any) -> Array:
        if x.ndim == axes + 1:
            return apply(x[None], output_size)[0]
        for axis, bins in enumerate(_each(output_size, axes), start=1):
            size = x.shape[axis]
            if bins is None or bins == size:
                continue
            if bins == 1:
                x = jnp.mean(x, axis, keepdims=True)
                continue
            weights = np.zeros((bins, size))
            for row, (low, high) in enumerate(_bins(size, bins)):
                weights[row, low:high] = 1.0 / (high - low)
            pooled = jnp.tensordot(x, jnp.asarray(weights, x.dtype), axes=([axis], [1]))
            x = jnp.moveaxis(pooled, -1, axis)
        return x

    return apply


def _adaptive_max_pool(axes: int) -> Any:
    def apply(x: Array, output_size: Any) -> tuple[Array, Array]:
        if x.ndim == axes + 1:
            return apply(x[None], output_size)[0][0], jnp.zeros((0,), jnp.int32)
        wanted = [
            size if bins is None else bins for bins, size in zip(_each(output_size, axes), x.shape[1:-1], strict=True)
        ]
        bins = [_bins(size, count) for size, count in zip(x.shape[1:-1], wanted, strict=True)]
        parts = []
        for place in np.ndindex(*wanted):
            ranges = [slice(*edges[i]) for edges, i in zip(bins, place, strict=True)]
            flat = x[(slice(None), *ranges)].reshape(x.shape[0], -1, x.shape[-1])
            parts.append(jnp.take_along_axis(flat, jnp.argmax(flat, 1, keepdims=True), 1)[:, 0])
        return jnp.stack(parts, 1).reshape(x.shape[0], *wanted, x.shape[-1]), jnp.zeros((0,), jnp.int32)

    return apply


for _axes in (1, 2, 3):
    rule(f"aten.adaptive_max_pool{_axes}d.default", policy=spatial(_axes))(_adaptive_max_pool(_axes))
    rule(f"aten.max_pool{_axes}d.default", policy=spatial(_axes))(_max_pool(_axes))
    rule(f"aten.max_pool{_axes}d_with_indices.default", policy=spatial(_axes))(_without_indices(_max_pool(_axes)))
    rule(f"aten.avg_pool{_axes}d.default", policy=spatial(_axes))(_avg_pool(_axes))
    rule(
        f"aten.adaptive_avg_pool{_axes}d.default",
        f"aten._adaptive_avg_pool{'' if _axes == 1 else _axes}d.default",
        policy=spatial(_axes),
    )(_adaptive_avg_pool(_axes))
