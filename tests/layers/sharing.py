"""Weights that are used twice, or made from others."""

import jax
import jax.numpy as jnp
from jax import lax

from layers.base import D, Layer, layer, weights


@layer
def used_twice(rng):
    return Layer({"w": weights(rng, D, D)}, lambda p, s, h: jnp.tanh(h @ p["w"]) @ p["w"])


@layer
def autoencoder(rng):
    return Layer({"w": weights(rng, D, 3)}, lambda p, s, h: jnp.tanh(h @ p["w"]) @ p["w"].T)


@layer
def with_itself(rng):
    return Layer({"w": weights(rng, D, 3)}, lambda p, s, h: h @ (p["w"] @ p["w"].T))


@layer
def twice_at_one_site(rng):
    return Layer({"w": weights(rng, D)}, lambda p, s, h: jnp.where(h > 0, p["w"][None, None], -p["w"][None, None]))


@layer
def bias_at_two_sites(rng):
    def apply(p, s, h):
        b = p["b"][None, None]
        return jnp.tanh(h @ p["w"] + b) + b * h

    return Layer({"w": weights(rng, D, D), "b": weights(rng, D)}, apply)


@layer
def weight_norm(rng):
    def apply(p, s, h):
        return h @ (p["v"] * (p["g"] / jnp.linalg.norm(p["v"], axis=0))[None])

    return Layer({"v": weights(rng, D, 5), "g": weights(rng, 5)}, apply)


@layer
def spectral_norm(rng):
    def apply(p, s, h):
        def power(u):
            v = lax.stop_gradient(p["w"]).T @ u
            u = lax.stop_gradient(p["w"]) @ (v / jnp.linalg.norm(v))
            return u / jnp.linalg.norm(u)

        _, u = lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, power(c[1])), (0, s["u"]))
        return h @ (p["w"] / jnp.linalg.norm(lax.stop_gradient(u) @ p["w"]))

    return Layer({"w": weights(rng, D, 5)}, apply, {"u": weights(rng, D)})


@layer
def positive_weights(rng):
    def apply(p, s, h):
        return (h @ jax.nn.softplus(p["w"])) * jnp.exp(p["log"])[None, None] * lax.rsqrt(p["v"] ** 2 + 1)[None, None]

    return Layer({"w": weights(rng, D, 5), "log": weights(rng, 5), "v": weights(rng, 5)}, apply)


@layer
def orthogonal_weights(rng):
    def apply(p, s, h):
        skew = p["w"] - p["w"].T
        return h @ jnp.linalg.solve(jnp.eye(D) + skew, jnp.eye(D) - skew)  # Cayley

    return Layer({"w": weights(rng, D, D)}, apply)


@layer
def solved_with(rng):
    def apply(p, s, h):
        return jnp.linalg.solve(3 * jnp.eye(D) + p["w"], h[0].T)[None]

    return Layer({"w": weights(rng, D, D)}, apply)


@layer
def parts_of_a_weight(rng):
    def apply(p, s, h):
        q, k, v = jnp.split(p["w"], 3, axis=1)
        return jnp.tanh(h @ q) * (h @ k) + h @ v[:, ::-1]

    return Layer({"w": weights(rng, D, 9)}, apply)


@layer
def stacked_weights(rng):
    def apply(p, s, h):
        return h @ jnp.stack([p["a"], p["b"]], 1) + (h @ jnp.concatenate([p["b"][:2], p["a"][2:]]))[..., None]

    return Layer({"a": weights(rng, D), "b": weights(rng, D)}, apply)
