"""Matrix products."""

import jax.numpy as jnp
from jax import lax

from layers.base import D, Layer, T, layer, weights


@layer
def dense(rng):
    return Layer({"w": weights(rng, D, 5), "b": weights(rng, 5)}, lambda p, s, h: h @ p["w"] + p["b"][None, None])


@layer
def dense_of_everything(rng):
    return Layer({"w": weights(rng, T * D, 6)}, lambda p, s, h: h.reshape(len(h), -1) @ p["w"])


@layer
def dense_from_the_left(rng):
    return Layer({"w": weights(rng, 5, T)}, lambda p, s, h: jnp.einsum("ot,btd->bod", p["w"], h))


@layer
def dense_transposed(rng):
    return Layer({"w": weights(rng, 5, D)}, lambda p, s, h: h @ p["w"].T)


@layer
def dense_over_two_axes(rng):
    return Layer(
        {"w": weights(rng, D, 3, 4, 2)}, lambda p, s, h: jnp.einsum("bijd,djio->bo", h.reshape(-1, 4, 3, D), p["w"])
    )


@layer
def dense_batched(rng):
    return Layer({"w": weights(rng, T, D, 3)}, lambda p, s, h: jnp.einsum("btd,tdo->bto", h, p["w"]))


@layer
def dense_grouped(rng):
    def apply(p, s, h):
        return jnp.einsum("ogd,btgd->btog", p["w"], h.reshape(-1, T, 2, 2))

    return Layer({"w": weights(rng, 3, 2, 2)}, apply)


@layer
def dense_grouped_dot_general(rng):
    def apply(p, s, h):
        one = lax.dot_general(p["w"], h[0].reshape(T, 2, 2), (((2,), (2,)), ((1,), (1,))))  # [g, o, T]
        return one[None]

    return Layer({"w": weights(rng, 3, 2, 2)}, apply)


@layer
def outer_product(rng):
    return Layer({"w": weights(rng, 5)}, lambda p, s, h: jnp.tensordot(h[..., 0], p["w"], axes=0))


@layer
def bilinear(rng):
    return Layer({"w": weights(rng, D, D, 3)}, lambda p, s, h: jnp.einsum("btd,dek,bte->btk", h, p["w"], h))


@layer
def low_rank_adapter(rng):
    def apply(p, s, h):
        return h @ (s["w"] + p["a"] @ p["b"]) + h @ p["w"]

    params = {"a": weights(rng, D, 2), "b": weights(rng, 2, 5), "w": weights(rng, D, 5)}
    return Layer(params, apply, {"w": weights(rng, D, 5)})


@layer
def generated_weights(rng):
    def apply(p, s, h):
        w = p["w"] * (1 + h.mean(1)[0, :, None])
        return h @ w

    return Layer({"w": weights(rng, D, 5)}, apply)
