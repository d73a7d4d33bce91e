"""Pools with torch's windows: explicit padding, ceil mode, exact adaptive bins."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from migrator.layout import spatial
from migrator.ops.registry import rule
from migrator.ops.windows import batched, each


def _overhang(size: int, window: int, stride: int, pad: int, ceil_mode: bool) -> int:
    """Rows beyond the right padding that the last window needs (torch drops a window starting in the padding)."""
    room = size + 2 * pad - window
    steps = -(-room // stride) if ceil_mode else room // stride
    if ceil_mode and steps * stride >= size + pad:
        steps -= 1
    return max(0, steps * stride - room)


def _pool_windows(
    x: Array, axes: int, window: Any, stride: Any, padding: Any, ceil_mode: bool, dilation: Any = 1
) -> Any:
    """Sizes, steps, spacings, paddings and overhangs of a pool's windows over ``[N, spatial..., C]``."""
    size, step, pad = each(window, axes), each(stride or window, axes), each(padding, axes)
    spread = each(dilation, axes)
    spans = [gap * (width - 1) + 1 for gap, width in zip(spread, size, strict=True)]
    over = [_overhang(*entry, ceil_mode) for entry in zip(x.shape[1:-1], spans, step, pad, strict=True)]
    return size, step, spread, pad, over


def _lowest(x: Array) -> Any:
    """What is no larger than any number of the type of x."""
    return np.asarray(-np.inf if jnp.issubdtype(x.dtype, jnp.floating) else np.iinfo(x.dtype).min, x.dtype)


def max_pool(
    x: Array,
    window: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    *,
    axes: int,
) -> Array:
    """Largest value of each window, of which the first of equals has the derivative.

    Args:
        x: ``[N, spatial..., C]``, or without the batch axis.
        window: size of a window along each spatial axis, or one for all.
        stride: step from window to window, likewise; the window's size where none is given.
        padding: rows added on both ends of each axis, likewise; they are never the largest.
        dilation: spacing of a window's points, likewise.
        ceil_mode: whether a last window may hang over the end.
        axes: number of spatial axes.

    Returns:
        ``[N, windows..., C]``.

    """

    def run(data: Array) -> Array:
        size, step, spread, pad, over = _pool_windows(data, axes, window, stride, padding, ceil_mode, dilation)
        pads = [(0, 0), *((p, p + extra) for p, extra in zip(pad, over, strict=True)), (0, 0)]
        if max(spread) > 1:  # JAX has no derivative of a dilated window
            windows = _stack_windows(lax.pad(data, _lowest(data), [(*ends, 0) for ends in pads]), size, step, spread)
            return jnp.take_along_axis(windows, jnp.argmax(windows, 0, keepdims=True), 0)[0]
        return lax.reduce_window(data, _lowest(data), lax.max, (1, *size, 1), (1, *step, 1), pads)

    return batched(run, x, axes + 2)


def max_pool_with_indices(
    x: Array,
    window: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    *,
    axes: int,
) -> tuple[Array, Array]:
    """``max_pool``, and where each value stood.

    Args:
        x: ``[N, spatial..., C]``, or without the batch axis.
        window: as for ``max_pool``, like all that follow.
        stride: step from window to window.
        padding: rows added on both ends of each axis.
        dilation: spacing of a window's points.
        ceil_mode: whether a last window may hang over the end.
        axes: number of spatial axes.

    Returns:
        Values and positions in the flattened spatial axes of x, both ``[N, windows..., C]``.

    """

    def places(data: Array) -> Array:
        size, step, spread, pad, over = _pool_windows(data, axes, window, stride, padding, ceil_mode, dilation)
        pads = [(0, 0, 0), *((p, p + extra, 0) for p, extra in zip(pad, over, strict=True)), (0, 0, 0)]
        windows = _stack_windows(lax.pad(data, _lowest(data), pads), size, step, spread)
        own = jnp.arange(np.prod(data.shape[1:-1])).reshape(1, *data.shape[1:-1], 1)
        numbers = _stack_windows(lax.pad(own, np.asarray(0, own.dtype), pads), size, step, spread)
        chosen = jnp.argmax(windows, 0, keepdims=True)
        return jnp.take_along_axis(jnp.broadcast_to(numbers, windows.shape), chosen, 0)[0]

    return max_pool(x, window, stride, padding, dilation, ceil_mode, axes=axes), batched(places, x, axes + 2)


def _stack_windows(x: Array, size: tuple[int, ...], step: tuple[int, ...], spread: tuple[int, ...]) -> Array:
    """``[positions in a window, N, windows..., C]`` of a padded ``[N, spatial..., C]``."""
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
    return jnp.stack(shifted)


def avg_pool(
    x: Array,
    window: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    axes: int,
) -> Array:
    """Mean of each window.

    Args:
        x: ``[N, spatial..., C]``, or without the batch axis.
        window: size of a window along each spatial axis, or one for all.
        stride: step from window to window, likewise; the window's size where none is given.
        padding: zeros added on both ends of each axis, likewise.
        ceil_mode: whether a last window may hang over the end.
        count_include_pad: whether the zeros of the padding count as values of the window.
        divisor_override: what the sum of a window is divided by, in place of the number of its values.
        axes: number of spatial axes.

    Returns:
        ``[N, windows..., C]``.

    """

    def run(data: Array) -> Array:
        size, step, _, pad, over = _pool_windows(data, axes, window, stride, padding, ceil_mode)
        pads = [(0, 0), *((p, p + extra) for p, extra in zip(pad, over, strict=True)), (0, 0)]
        zero = np.zeros((), data.dtype)
        total = lax.reduce_window(data, zero, lax.add, (1, *size, 1), (1, *step, 1), pads)
        if divisor_override is not None:
            return total / divisor_override
        counts: np.ndarray = np.ones((), np.float64)
        for axis in range(axes):
            entry = (data.shape[1 + axis], size[axis], step[axis], pad[axis], over[axis])
            counts = np.multiply.outer(counts, _window_counts(*entry, count_include_pad))
        return total / jnp.asarray(counts[None, ..., None], data.dtype)

    return batched(run, x, axes + 2)


def _window_counts(length: int, window: int, stride: int, pad: int, over: int, include_pad: bool) -> np.ndarray:
    """Divisor of each window along one axis: explicit padding may count, the overhang of ceil mode never."""
    starts = np.arange(-pad, length + pad + over - window + 1, stride)
    low, high = (-pad, length + pad) if include_pad else (0, length)
    return np.minimum(starts + window, high) - np.maximum(starts, low)


def _adaptive_bins(size: int, bins: int) -> list[tuple[int, int]]:
    """Torch's adaptive bins: floor(i size / bins) up to ceil((i + 1) size / bins)."""
    return [(i * size // bins, -(-(i + 1) * size // bins)) for i in range(bins)]


def adaptive_avg_pool(x: Array, output_size: Any, *, axes: int) -> Array:
    """Mean of each of as many bins as the output has places.

    Args:
        x: ``[N, spatial..., C]``, or without the batch axis.
        output_size: number of bins along each spatial axis, or one for all; None leaves an axis as it is.
        axes: number of spatial axes.

    Returns:
        ``[N, bins..., C]``.

    """

    def run(data: Array) -> Array:
        for axis, bins in enumerate(each(output_size, axes), start=1):
            size = data.shape[axis]
            if bins is None or bins == size:
                continue
            if bins == 1:
                data = jnp.mean(data, axis, keepdims=True)
                continue
            weights = np.zeros((bins, size))
            for row, (low, high) in enumerate(_adaptive_bins(size, bins)):
                weights[row, low:high] = 1.0 / (high - low)
            pooled = jnp.tensordot(data, jnp.asarray(weights, data.dtype), axes=([axis], [1]))
            data = jnp.moveaxis(pooled, -1, axis)
        return data

    return batched(run, x, axes + 2)


def adaptive_max_pool(x: Array, output_size: Any, *, axes: int) -> tuple[Array, Array]:
    """Largest value of each of as many bins as the output has places, and where it stood.

    Args:
        x: ``[N, spatial..., C]``, or without the batch axis.
        output_size: number of bins along each spatial axis, or one for all; None leaves an axis as it is.
        axes: number of spatial axes.

    Returns:
        Values and positions in the flattened spatial axes of x, both ``[N, bins..., C]``.

    """
    if x.ndim == axes + 1:
        values, numbers = adaptive_max_pool(x[None], output_size, axes=axes)
        return values[0], numbers[0]
    shape = x.shape[1:-1]
    wanted = [size if bins is None else bins for bins, size in zip(each(output_size, axes), shape, strict=True)]
    edges = [_adaptive_bins(size, count) for size, count in zip(shape, wanted, strict=True)]
    own = np.arange(np.prod(shape)).reshape(shape)
    parts, places = [], []
    for place in np.ndindex(*wanted):
        ranges = [slice(*ends[i]) for ends, i in zip(edges, place, strict=True)]
        flat = x[(slice(None), *ranges)].reshape(x.shape[0], -1, x.shape[-1])
        chosen = jnp.argmax(flat, 1, keepdims=True)
        parts.append(jnp.take_along_axis(flat, chosen, 1)[:, 0])
        places.append(jnp.take(jnp.asarray(own[tuple(ranges)].ravel()), chosen[:, 0]))
    outputs = (x.shape[0], *wanted, x.shape[-1])
    return jnp.stack(parts, 1).reshape(outputs), jnp.stack(places, 1).reshape(outputs)


for _axes in (1, 2, 3):
    _here = spatial(_axes)
    rule(f"aten.adaptive_max_pool{_axes}d.default", policy=_here)(partial(adaptive_max_pool, axes=_axes))
    rule(f"aten.max_pool{_axes}d.default", policy=_here)(partial(max_pool, axes=_axes))
    rule(f"aten.max_pool{_axes}d_with_indices.default", policy=_here)(partial(max_pool_with_indices, axes=_axes))
    rule(f"aten.avg_pool{_axes}d.default", policy=_here)(partial(avg_pool, axes=_axes))
    rule(
        f"aten.adaptive_avg_pool{_axes}d.default",
        f"aten._adaptive_avg_pool{'' if _axes == 1 else _axes}d.default",
        policy=_here,
    )(partial(adaptive_avg_pool, axes=_axes))
