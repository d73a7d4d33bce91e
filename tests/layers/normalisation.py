"""Normalisation and attention."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from layers.base import D, Layer, T, layer, weights


@layer
def batch_norm(rng):
    def apply(p, s, h):
        inverse = p["scale"] * lax.rsqrt(s["var"] + 1e-5)
        return (h - s["mean"][None, None]) * inverse[None, None] + p["bias"][None, None]

    state = {"mean": weights(rng, D), "var": weights(rng, D) ** 2 + 0.5, "batches": np.asarray(3, np.int32)}
    return Layer({"scale": 1 + weights(rng, D), "bias": weights(rng, D)}, apply, state)


@layer
def layer_norm(rng):
    def apply(p, s, h):
        centred = h - h.mean(-1, keepdims=True)
        normal = centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return normal * p["scale"][None, None] + p["bias"][None, None]

    return Layer({"scale": 1 + weights(rng, D), "bias": weights(rng, D)}, apply)


@layer
def group_norm(rng):
    def apply(p, s, h):
        grouped = h.reshape(-1, T, 2, 2)
        centred = grouped - grouped.mean((1, 3), keepdims=True)
        normal = (centred / jnp.sqrt((centred**2).mean((1, 3), keepdims=True) + 1e-5)).reshape(h.shape)
        return normal * p["scale"][None, None] + p["bias"][None, None]

    return Layer({"scale": 1 + weights(rng, D), "bias": weights(rng, D)}, apply)


@layer
def attention(rng):
    def apply(p, s, h):
        token = jnp.broadcast_to(p["class"][None, None], (len(h), 1, D))
        z = jnp.concatenate([token, h], 1) + p["position"][None]
        heads = jnp.einsum("btd,adhk->abhtk", z, p["qkv"]) + p["bias"][:, None, :, None]
        q, k, v = heads
        mixed = jnp.einsum("bhtu,bhuk->bthk", jax.nn.softmax(jnp.einsum("bhtk,bhuk->bhtu", q, k) / np.sqrt(2)), v)
        return jnp.einsum("bthk,hkd->btd", mixed, p["out"])[:, :3]

    params = {
        "class": weights(rng, D), "position": weights(rng, T + 1, D), "qkv": weights(rng, 3, D, 2, 2),
        "bias": weights(rng, 3, 2, 2), "out": weights(rng, 2, 2, D),
    }  # fmt: skip
    return Layer(params, apply)
