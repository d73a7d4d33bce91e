"""Functions with their own derivatives, and calls."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from layers.base import D, Layer, layer, weights


@jax.custom_jvp
def crooked(w, z):
    return jnp.sin(z @ w)


@crooked.defjvp
def crooked_jvp(primals, tangents):
    (w, z), (dw, dz) = primals, tangents
    return crooked(w, z), 3 * (z @ dw) + 0.5 * (dz @ w)  # deliberately not the derivative


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def straight_through(w, z, scale):
    return jnp.sign(z @ w) * scale


straight_through.defvjp(
    lambda w, z, scale: (straight_through(w, z, scale), (w, z)),
    lambda scale, kept, g: (2 * jnp.einsum("bti,bto->io", kept[1], g), scale * g @ kept[0].T),
)


@layer
def custom_jvp(rng):
    return Layer({"w": weights(rng, D, D)}, lambda p, s, h: crooked(p["w"], jnp.tanh(crooked(p["w"], h))))


@layer
def custom_vjp(rng):
    return Layer({"w": weights(rng, D, D)}, lambda p, s, h: straight_through(p["w"], h, 0.7))


@jax.custom_jvp
def scaled_gradient(w):
    return w


@scaled_gradient.defjvp
def scaled_gradient_jvp(primals, tangents):
    return primals[0], 2 * tangents[0]


@layer
def custom_rule_for_a_weight(rng):
    """The rule meets the weight before any data does."""
    return Layer({"w": weights(rng, D, 3)}, lambda p, s, h: h @ scaled_gradient(p["w"]))


@layer
def activations(rng):
    def apply(p, s, h):
        return jax.nn.relu(h @ p["w"]) + jax.nn.gelu(p["b"][None, None] + h) + jax.nn.silu(p["b"])[None, None]

    return Layer({"w": weights(rng, D, D), "b": weights(rng, D)}, apply)


@layer
def checkpointed(rng):
    def apply(p, s, h):
        return (
            jax.checkpoint(lambda w, z: jnp.tanh(z @ w) @ w.T)(p["w"], h) + jax.checkpoint(jnp.sin)(p["b"])[None, None]
        )

    return Layer({"w": weights(rng, D, 3), "b": weights(rng, D)}, apply)


@jax.jit
def block(w, z):
    return jax.jit(lambda a, b: jnp.tanh(b @ a))(w, z) @ w.T


@layer
def called_twice(rng):
    return Layer({"a": weights(rng, D, 3), "b": weights(rng, D, 3)}, lambda p, s, h: block(p["b"], block(p["a"], h)))


@layer
def called_with_one_weight_twice(rng):
    def apply(p, s, h):
        return jax.jit(lambda a, b, z: (jnp.tanh(z @ a) @ b.T, a))(p["w"], p["w"], h)[0] @ block(p["w"], jnp.eye(D))

    return Layer({"w": weights(rng, D, 3)}, apply)


@layer
def read_without_gradient(rng):
    """A second use of a weight that no gradient passes."""

    def apply(p, s, h):
        return (h @ p["w"]) * lax.stop_gradient(jnp.linalg.norm(p["w"])) + (p["w"] > 0).sum()

    return Layer({"w": weights(rng, D, 3)}, apply)
