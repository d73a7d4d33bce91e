"""Convolutions and transposed convolutions in one, two and three dimensions, grouped and dilated."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from migrator.graph import Node
from migrator.layout import Placed, Tags, spatial
from migrator.ops.registry import BIAS, CONV_KERNEL, TRANSPOSED_KERNEL, conv_kernel, rule, transposed_kernel
from migrator.ops.windows import batched, each

LETTERS = "DHW"


def _dimension_numbers(axes: int) -> lax.ConvDimensionNumbers:
    """Channels last, in the data as in the kernel."""
    letters = LETTERS[-axes:]
    data, kernel = f"N{letters}C", f"{letters}IO"
    return lax.conv_dimension_numbers((1,) * (axes + 2), (1,) * (axes + 2), (data, kernel, data))


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
        x: ``[N, spatial..., C]``, or without the batch axis.
        kernel: ``[spatial..., C / groups, O]``.
        bias: ``[O]``.
        stride: step along each spatial axis.
        padding: zeros on both sides of each axis, or ``same`` / ``valid``.
        dilation: spacing of the kernel's points.
        groups: number of groups of channels.

    Returns:
        ``[N, spatial..., O]``.

    """
    axes = kernel.ndim - 2
    spacing = each(dilation, axes)
    if padding == "same":
        spans = [step * (size - 1) for step, size in zip(spacing, kernel.shape, strict=False)]
        pads = tuple((span // 2, span - span // 2) for span in spans)
    else:
        pads = tuple((pad, pad) for pad in each(0 if padding == "valid" else padding, axes))
    settings = Settings(each(stride, axes), pads, spacing, groups)

    def run(data: Array) -> Array:
        if groups == 1:
            return _direct_conv(data, kernel, settings)
        depthwise = kernel.shape[-2] == 1
        return shifted_conv(data, kernel, settings) if depthwise else _grouped_conv(data, kernel, settings)

    y = batched(run, x, kernel.ndim)
    return y if bias is None else y + bias


class Settings(NamedTuple):
    """How a kernel moves: its steps, the zeros before and after each axis, its spacings, its groups."""

    stride: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int


def _direct_conv(x: Array, kernel: Array, settings: Settings) -> Array:
    """``conv`` as one operator of JAX."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=settings.stride,
        padding=settings.pads,
        rhs_dilation=settings.dilation,
        dimension_numbers=_dimension_numbers(kernel.ndim - 2),
        feature_group_count=settings.groups,
    )


def shifted_conv(x: Array, kernel: Array, settings: Settings) -> Array:
    """``conv`` as a sum of shifted, scaled inputs, one term for each point of the kernel.

    A kernel's derivative in groups is a sum over positions here. As an operator of JAX it would be a convolution with
    the batch in groups, which is thousands of times slower on CPUs and takes gigabytes.

    Args:
        x: ``[N, spatial..., C]``.
        kernel: ``[spatial..., C / groups, O]``.
        settings: how it moves.

    Returns:
        ``[N, spatial..., O]``.

    """
    groups, (inputs, outputs) = settings.groups, kernel.shape[-2:]
    padded = jnp.pad(x, [(0, 0), *settings.pads, (0, 0)])
    spans = [gap * (size - 1) for gap, size in zip(settings.dilation, kernel.shape, strict=False)]
    room = zip(padded.shape[1:-1], spans, settings.stride, strict=True)
    shape = tuple((length - span - 1) // step + 1 for length, span, step in room)
    total = jnp.zeros((), x.dtype)
    for point in np.ndindex(*kernel.shape[:-2]):
        starts = [gap * offset for gap, offset in zip(settings.dilation, point, strict=True)]
        ends = [start + (size - 1) * step + 1 for start, size, step in zip(starts, shape, settings.stride, strict=True)]
        places = [slice(*entry) for entry in zip(starts, ends, settings.stride, strict=True)]
        part = padded[(slice(None), *places)].reshape(x.shape[0], *shape, groups, inputs)
        weights = kernel[point].reshape(inputs, groups, outputs // groups)
        term = part * weights[0] if inputs == 1 else jnp.einsum("...gi,igo->...go", part, weights)
        total = total + term
    return total.reshape(x.shape[0], *shape, outputs)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _grouped_conv(x: Array, kernel: Array, settings: Settings) -> Array:
    """``conv`` in groups of several channels: the operator of JAX, but for the kernel's derivative."""
    return _direct_conv(x, kernel, settings)


@_grouped_conv.defjvp
def _grouped_conv_jvp(
    settings: Settings, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """The derivative along both; the convolution is linear in each."""
    (x, kernel), (dx, dkernel) = primals, tangents
    moved = _direct_conv(dx, kernel, settings) + shifted_conv(x, dkernel, settings)
    return _direct_conv(x, kernel, settings), moved


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
    """The transpose of ``conv``: the kernel flipped, its channels swapped, the data spread out by the stride.

    Args:
        x: ``[N, spatial..., C]``, or without the batch axis.
        kernel: ``[spatial..., C, O / groups]``.
        bias: ``[O]``.
        stride: spacing of the data's points in the output.
        padding: rows cut from both ends of each axis.
        output_padding: rows added at the end of each axis.
        groups: number of groups of channels.
        dilation: spacing of the kernel's points.

    Returns:
        ``[N, spatial..., O]``.

    """
    axes = kernel.ndim - 2
    spacing = each(dilation, axes)
    spatial_shape, (inputs, outputs) = kernel.shape[:axes], kernel.shape[axes:]
    grouped = kernel.reshape(*spatial_shape, groups, inputs // groups, outputs)
    swapped = jnp.moveaxis(grouped, axes, axes + 1).reshape(*spatial_shape, inputs // groups, groups * outputs)
    flipped = jnp.flip(swapped, tuple(range(axes)))
    ends = zip(spacing, spatial_shape, each(padding, axes), each(output_padding, axes), strict=True)
    pads = [(step * (size - 1) - pad, step * (size - 1) - pad + extra) for step, size, pad, extra in ends]

    def run(data: Array) -> Array:
        return lax.conv_general_dilated(
            data,
            flipped,
            window_strides=(1,) * axes,
            padding=pads,
            lhs_dilation=each(stride, axes),
            rhs_dilation=spacing,
            dimension_numbers=_dimension_numbers(axes),
            feature_group_count=groups,
        )

    y = batched(run, x, kernel.ndim)
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
