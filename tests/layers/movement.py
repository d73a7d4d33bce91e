"""Moving data."""

import jax
import jax.numpy as jnp
from jax import lax

from layers.base import D, Layer, T, layer, weights


@layer
def embedding(rng):
    def apply(p, s, h):
        return p["table"][(h > 0).sum(-1)] * h[..., :3] + p["table"].at[2].get()[None, None]

    return Layer({"table": weights(rng, D + 1, 3)}, apply)


@layer
def one_hot_embedding(rng):
    return Layer({"table": weights(rng, D + 1, 3)}, lambda p, s, h: jax.nn.one_hot((h > 0).sum(-1), D + 1) @ p["table"])


@layer
def concatenation(rng):
    def apply(p, s, h):
        token = jnp.broadcast_to(p["w"], (len(h), 2, D))
        padded = lax.pad(h * p["edge"], p["edge"], [(0, 0, 0), (1, 1, 0), (0, 0, 0)])
        return jnp.concatenate([token, padded, h, token], 1)

    return Layer({"w": weights(rng, 2, D), "edge": weights(rng)}, apply)


@layer
def repetition(rng):
    def apply(p, s, h):
        rows = jnp.broadcast_to(p["w"][None, None], (len(h), 3, D))
        return jnp.concatenate([h, rows, jnp.tile(p["v"], (len(h), 2, 1))], 1)

    return Layer({"w": weights(rng, D), "v": weights(rng, 2, D)}, apply)


@layer
def slices_at_data(rng):
    def apply(p, s, h):
        at = (h[0, 0] > 0).sum()
        read = lax.dynamic_slice(p["w"], (at, 0), (3, D))
        return lax.dynamic_update_slice(h[0], p["patch"], (at, 0))[None, :6].at[0, :3].add(read).at[0, 4].set(p["w"][0])

    return Layer({"w": weights(rng, 8, D), "patch": weights(rng, 2, D)}, apply)


@layer
def sorting(rng):
    def apply(p, s, h):
        order, carried = lax.sort((h, jnp.broadcast_to(p["w"][None], h.shape)), num_keys=1)
        return (order * carried).cumsum(1) + lax.top_k(h * p["w"][0, 0], 1)[0]

    return Layer({"w": weights(rng, T, D)}, apply)
