"""Control flow."""

import jax
import jax.numpy as jnp
from jax import lax

from layers.base import D, Layer, layer, weights


@layer
def recurrence(rng):
    def apply(p, s, h):
        def step(carry, x):
            carry = jnp.tanh(x @ p["w"] + carry @ p["u"] + p["b"][None])
            return carry, carry

        start = jnp.broadcast_to(p["start"], (len(h), 3))
        _, states = lax.scan(step, start, h.swapaxes(0, 1))
        return states[::4]

    params = {"w": weights(rng, D, 3), "u": weights(rng, 3, 3), "b": weights(rng, 3), "start": weights(rng, 3)}
    return Layer(params, lambda p, s, h: apply(p, s, h).swapaxes(0, 1))


@layer
def scan_over_layers(rng):
    def apply(p, s, h):
        return lax.scan(lambda z, w: (jnp.tanh(z @ w), None), h, p["w"])[0]

    return Layer({"w": weights(rng, 3, D, D)}, apply)


@layer
def condition(rng):
    def apply(p, s, h):
        return lax.cond(h[0, 0, 0] > 0, lambda w, z: z @ w, lambda w, z: jnp.sin(z @ w.T @ w), p["w"], h)

    return Layer({"w": weights(rng, D, D)}, apply)


@layer
def condition_on_a_weight(rng):
    def apply(p, s, h):
        w = lax.cond(p["w"][0, 0] > 0, lambda w: w, lambda w: 2 * w.T, p["w"])
        return lax.switch((p["w"] > 0).sum() % 2, [lambda z: z @ w, lambda z: jnp.sin(z @ w)], h)

    return Layer({"w": weights(rng, D, D)}, apply)


@layer
def loop(rng):
    def apply(p, s, h):
        return lax.fori_loop(0, 3, lambda i, z: jnp.tanh(z @ p["w"] + p["b"][i][None, None]), h)

    return Layer({"w": weights(rng, D, D), "b": weights(rng, 3, D)}, apply)


@layer
def loop_without_gradient(rng):
    """A while loop has no derivative by reverse mode, and needs none where its gradient is stopped."""

    def apply(p, s, h):
        w = lax.stop_gradient(p["w"])
        _, z = lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, jnp.tanh(c[1] @ w)), (0, lax.stop_gradient(h)))
        return z * p["b"][None, None]

    return Layer({"w": weights(rng, D, D), "b": weights(rng, D)}, apply)


@layer
def mapped(rng):
    return Layer({"w": weights(rng, D, 3)}, lambda p, s, h: lax.map(lambda row: jnp.tanh(row @ p["w"]), h[0])[None])


@layer
def vmapped(rng):
    return Layer({"w": weights(rng, D, 3)}, lambda p, s, h: jax.vmap(jax.vmap(lambda row: row @ p["w"]))(h))
