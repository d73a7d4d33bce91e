"""Scaled dot-product attention."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array

from migrator.ops.registry import rule


@rule("aten.scaled_dot_product_attention.default")
def attention(
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None = None,
    dropout: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Array:
    """softmax(scale Q K' + mask) V over the last two axes; a row that is masked throughout gives zeros.

    Args:
        query: ``[..., L, E]``.
        key: ``[..., S, E]``.
        value: ``[..., S, V]``.
        mask: added to the scores, or true where a key may be seen; ``[..., L, S]``.
        dropout: zero in evaluation mode.
        is_causal: each query sees the keys up to its own position.
        scale: ``1 / sqrt(E)`` unless given.
        enable_gqa: groups of query heads share a key head.

    Returns:
        ``[..., L, V]``.

    """
    if enable_gqa:
        key, value = (jnp.repeat(t, query.shape[-3] // t.shape[-3], axis=-3) for t in (key, value))
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = jnp.matmul(query * math.sqrt(factor), jnp.swapaxes(key, -1, -2) * math.sqrt(factor))  # [..., L, S]
    if is_causal:
        mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf) if mask.dtype == bool else scores + mask
    dead = jnp.all(jnp.isneginf(scores), -1, keepdims=True)
    weights = jnp.where(dead, 0.0, jax.nn.softmax(jnp.where(dead, 0.0, scores), -1))
    return jnp.matmul(weights, value)
