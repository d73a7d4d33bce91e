"""Convolutions and transposed convolutions in one, two and three dimensions, grouped and dilated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from migrator.graph import Node
from migrator.layout import Placed, Tags, spatial
from migrator.ops.registry import BIAS, CONV_KERNEL, TRANSPOSED_KERNEL, conv_kernel, rule, transposed_kernel

_LETTERS = "DHW"


def _numbers(axes: int) -> lax.ConvDimensionNumbers:
    letters = _LETTERS[-axes:]
    data, kernel = f"N{letters}C", f"{letters}IO"
    return lax.conv_dimension_numbers((1,) * (axes + 2), (1,) * (axes + 2), (data, kernel, data))


def _each(value: Any, axes: int) -> tuple[int, ...]:
    values = value if isinstance(value, tuple) else (value,)
    return values * axes if len(values) == 1 else values


def _batched(function: Callable[[Array], Array], x: Array, rank: int) -> Array:
    return function(x) if x.ndim == rank else function(x[None])[0]


def conv(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Array:
    """Cross-correlation with explicit padding, as torch defines it.

    Args:
        x: `[N, spatial..., C]`, or without the batch axis.
        kernel: `[spatial..., C / groups, O]`.
        bias: `[O]`.
        stride: step along each spatial axis.
        padding: zeros on both sides of each axis, or `same` / `valid`.
        dilation: spacing of the kernel's points.
        groups: number of groups of channels.

    Returns:
        `[N, spatial..., O]`.
    """
    axes = kernel.ndim - 2
    spacing = _each(dilation, axes)
    if padding == "same":
        spans = [step * (size - 1) for step, size in zip(spacing, kernel.shape, strict=False)]
        pads = [(span // 2, span - span // 2) for span in spans]
    else:
        pads = [(pad, pad) for pad in _each(0 if padding == "valid" else padding, axes)]

    def run(data: Array) -> Array:
        return lax.conv_general_dilated(
            data,
            kernel,
            window_strides=_each(stride, axes),
            padding=pads,
            rhs_dilation=spacing,
            dimension_numbers=_numbers(axes),
            feature_group_count=groups,
        )

    y = _batched(run, x, kernel.ndim)
    return y if bias is None else y + bias


def conv_transpose(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Array:
    """The transpose of `conv`: the kernel flipped, its channels swapped, the data spread out by the stride.

    Args:
        x: `[N, spatial..., C]`, or without the batch axis.
        kernel: `[spatial..., C, O / groups]`.
        bias: `[O]`.
        stride: spacing of the data's points in the output.
        padding: rows cut from both ends of each axis.
        output_padding: rows added at the end of each axis.
        groups: number of groups of channels.
        dilation: spacing of the kernel's points.

    Returns:
        `[N, spatial..., O]`.
    """
    axes = kernel.ndim - 2
    spacing = _each(dilation, axes)
    spatial_shape, (inputs, outputs) = kernel.shape[:axes], kernel.shape[axes:]
    grouped = kernel.reshape(*spatial_shape, groups, inputs // groups, outputs)
    swapped = jnp.moveaxis(grouped, axes, axes + 1).reshape(*spatial_shape, inputs // groups, groups * outputs)
    flipped = jnp.flip(swapped, tuple(range(axes)))
    ends = zip(spacing, spatial_shape, _each(padding, axes), _each(output_padding, axes), strict=True)
    pads = [(step * (size - 1) - pad, step * (size - 1) - pad + extra) for step, size, pad, extra in ends]

    def run(data: Array) -> Array:
        return lax.conv_general_dilated(
            data,
            flipped,
            window_strides=(1,) * axes,
            padding=pads,
            lhs_dilation=_each(stride, axes),
            rhs_dilation=spacing,
            dimension_numbers=_numbers(axes),
            feature_group_count=groups,
        )

    y = _batched(run, x, kernel.ndim)
    return y if bias is None else y + bias


for _axes in (1, 2, 3):
    rule(
        f"aten.conv{_axes}d.default",
        f"aten.conv{_axes}d.padding",
        policy=spatial(_axes, conv_kernel),
        roles={1: CONV_KERNEL, 2: BIAS},
    )(conv)
    rule(
        f"aten.conv_transpose{_axes}d.{'default' if _axes == 1 else 'input'}",
        policy=spatial(_axes, transposed_kernel),
        roles={1: TRANSPOSED_KERNEL, 2: BIAS},
    )(conv_transpose)


def _either(node: Node, tags: Tags) -> Placed:
    axes = (tags.rank(node.args[1]) or 2) - 2
    return spatial(axes, transposed_kernel if node.args[6] else conv_kernel)(node, tags)


@rule("aten.convolution.default", policy=_either)
def convolution(
    x: Array,
    kernel: Array,
    bias: Array | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Array:
    """Torch's one operator for both directions."""
    if transposed:
        return conv_transpose(x, kernel, bias, stride, padding, output_padding, groups, dilation)
    return conv(x, kernel, bias, stride, padding, dilation, groups)
