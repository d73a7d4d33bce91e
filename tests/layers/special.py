"""Parameters that are special."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from layers.base import D, Layer, T, layer, weights


@layer
def stopped(rng):
    def apply(p, s, h):
        b = p["b"] * lax.stop_gradient(p["w"])[0]
        return h @ lax.stop_gradient(p["w"]) + b[None, None] + lax.stop_gradient(h @ p["v"])

    return Layer({"w": weights(rng, D, 3), "v": weights(rng, D, 3), "b": weights(rng, 3)}, apply)


@layer
def unused(rng):
    return Layer({"w": weights(rng, D, 3), "unused": weights(rng, 7)}, lambda p, s, h: h @ p["w"])


@layer
def dead_end(rng):
    """Computed from data and weights, and thrown away."""

    def apply(p, s, h):
        both = jax.jit(lambda z: (z @ p["w"], z @ p["dead"]))(h)
        return both[0]

    return Layer({"w": weights(rng, D, 3), "dead": weights(rng, D, 2)}, apply)


@layer
def no_data(rng):
    return Layer({"w": weights(rng, 5)}, lambda p, s, h: jnp.broadcast_to(p["w"], (len(h), 5)))


@layer
def zero_size(rng):
    def apply(p, s, h):
        nothing = h[..., :0] @ p["none"] + p["empty"].sum()
        return jnp.concatenate([h @ p["w"], nothing, jnp.broadcast_to(p["empty"][None, None], (len(h), T, 0))], -1)

    return Layer({"w": weights(rng, D, 3), "none": np.zeros((0, 2)), "empty": np.zeros(0)}, apply)


@layer
def noise(rng):
    def apply(p, s, h):
        key = jax.random.fold_in(s["key"], 1)
        return (h + jax.random.uniform(key, h.shape, h.dtype)) @ (p["w"] * jax.random.bernoulli(key, 0.5, (D, 3)))

    return Layer({"w": weights(rng, D, 3)}, apply, {"key": jax.random.key(7)})


@layer
def integer_state(rng):
    state = {"order": rng.permutation(D).astype(np.int32), "mask": rng.random(D) > 0.3}
    return Layer(
        {"w": weights(rng, D, 3)}, lambda p, s, h: (h[..., s["order"]] * s["mask"][None, None]) @ p["w"], state
    )
