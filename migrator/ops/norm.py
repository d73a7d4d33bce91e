"""Normalisation; batch norm always with its running statistics, which are constants."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from migrator.layout import spatial
from migrator.ops.registry import BIAS, MEAN, SCALE, VAR, rule

_ROLES = {1: SCALE, 2: BIAS, 3: MEAN, 4: VAR}


@rule("aten._native_batch_norm_legit_no_training.default", policy=spatial(), roles=_ROLES)
def batch_norm(
    x: Array, scale: Array | None, bias: Array | None, mean: Array, var: Array, momentum: float, eps: float
) -> tuple[Array, Array, Array]:
    """(x - mean) / sqrt(var + eps) * scale + bias with running statistics, channels in the last axis.

    It is not folded into a convolution: that would change the parameters, and so the kernel.
    """
    y = (x - mean) * lax.rsqrt(var + eps)
    y = y if scale is None else y * scale
    y = y if bias is None else y + bias
    nothing = jnp.zeros((0,), x.dtype)
    return y, nothing, nothing


@rule("aten._native_batch_norm_legit.no_stats", roles={1: SCALE, 2: BIAS})
def standardise_channels(
    x: Array, scale: Array | None, bias: Array | None, training: bool, momentum: float, eps: float
) -> tuple[Array, Array, Array]:
    """Each channel of ``[N, C, ...]`` by its own mean and variance over all else, as weights are standardised.

    Where x comes from the inputs, ``preflight`` refuses it unless N is 1 and the examples are among the channels.
    """
    axes = (0, *range(2, x.ndim))
    channels = (-1,) + (1,) * (x.ndim - 2)
    y = _standardise(x, axes, eps)
    y = y if scale is None else y * scale.reshape(channels)
    y = y if bias is None else y + bias.reshape(channels)
    return y, jnp.mean(x, axes), lax.rsqrt(jnp.var(x, axes) + eps)


@rule("aten.layer_norm.default", roles={2: SCALE, 3: BIAS})
def layer_norm(
    x: Array,
    normalized_shape: tuple[int, ...],
    scale: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Array:
    """Normalised over the last axes, with the biased variance about the mean."""
    y = _standardise(x, tuple(range(-len(normalized_shape), 0)), eps)
    y = y if scale is None else y * scale
    return y if bias is None else y + bias


@rule("aten.native_layer_norm.default", roles={2: SCALE, 3: BIAS})
def native_layer_norm(
    x: Array, normalized_shape: tuple[int, ...], scale: Array | None, bias: Array | None, eps: float
) -> tuple[Array]:
    """Layer norm as one of several results, of which only the first is for use."""
    return (layer_norm(x, normalized_shape, scale, bias, eps),)


@rule("aten.group_norm.default", roles={2: SCALE, 3: BIAS})
def group_norm(
    x: Array,
    groups: int,
    scale: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Array:
    """Normalised over each group of channels and all spatial axes; x is ``[N, C, spatial...]``."""
    grouped = x.reshape(x.shape[0], groups, -1)
    y = _standardise(grouped, (-1,), eps).reshape(x.shape)
    channels = (-1,) + (1,) * (x.ndim - 2)
    y = y if scale is None else y * scale.reshape(channels)
    return y if bias is None else y + bias.reshape(channels)


@rule("aten.instance_norm.default", roles={1: SCALE, 2: BIAS, 3: MEAN, 4: VAR})
def instance_norm(
    x: Array,
    scale: Array | None,
    bias: Array | None,
    mean: Array | None,
    var: Array | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    *_: Any,
) -> Array:
    """Normalised over the spatial axes of each example, or by running statistics; x is ``[N, C, spatial...]``."""
    channels = (-1,) + (1,) * (x.ndim - 2)
    if use_input_stats or mean is None or var is None:
        y = _standardise(x, tuple(range(2, x.ndim)), eps)
    else:
        y = (x - mean.reshape(channels)) * lax.rsqrt(var.reshape(channels) + eps)
    y = y if scale is None else y * scale.reshape(channels)
    return y if bias is None else y + bias.reshape(channels)


def _standardise(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    centred = x - jnp.mean(x, axes, keepdims=True)
    return centred * lax.rsqrt(jnp.mean(jnp.square(centred), axes, keepdims=True) + eps)
