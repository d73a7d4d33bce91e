"""Elementwise."""

import jax.numpy as jnp
import numpy as np
from jax import lax

from layers.base import D, Layer, T, layer, weights


@layer
def where(rng):
    def apply(p, s, h):
        return jnp.where(h > 0, p["a"][None, None], h * p["b"][None, None]) + jnp.where(h < 0.5, h, p["a"][0])

    return Layer({"a": weights(rng, D), "b": weights(rng, D)}, apply)


@layer
def maximum(rng):
    def apply(p, s, h):
        low, high = (jnp.abs(p[name])[None, None] for name in ("low", "high"))
        return jnp.maximum(p["a"][None, None], h) + jnp.clip(h, -low, high) + jnp.minimum(h, p["a"][None, None])

    return Layer({"a": weights(rng, D), "low": weights(rng, D), "high": weights(rng, D)}, apply)


@layer
def division(rng):
    def apply(p, s, h):
        return h / (2 + p["a"] ** 2)[None, None] + p["b"][None, None] / (1.5 + jnp.tanh(h))

    return Layer({"a": weights(rng, D), "b": weights(rng, D)}, apply)


@layer
def power(rng):
    def apply(p, s, h):
        positive = 1 + h**2
        return (
            positive ** p["a"][None, None]
            + (1 + p["b"] ** 2)[None, None] ** jnp.tanh(h)
            + (p["b"] + 2)[None, None] ** 3
        )

    return Layer({"a": weights(rng, D), "b": weights(rng, D)}, apply)


@layer
def prelu(rng):
    return Layer({"slope": np.asarray(0.25)}, lambda p, s, h: jnp.where(h > 0, h, p["slope"] * h))


@layer
def scalars(rng):
    return Layer({"a": weights(rng), "b": weights(rng)}, lambda p, s, h: p["a"] * h + p["b"] + jnp.tanh(p["b"] * h))


@layer
def pooling(rng):
    def apply(p, s, h):
        image = (h * p["w"][None, None]).reshape(-1, 3, 4, D) + p["map"][None]
        high = lax.reduce_window(image, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 1, 2, 1), "SAME")
        mean = lax.reduce_window(image, 0.0, lax.add, (1, 2, 3, 1), (1, 1, 1, 1), "VALID")
        return jnp.concatenate([high.reshape(len(h), -1), mean.reshape(len(h), -1)], 1)

    return Layer({"w": weights(rng, D), "map": weights(rng, 3, 4, D)}, apply)


@layer
def spectral_filter(rng):
    def apply(p, s, h):
        return jnp.fft.irfft(jnp.fft.rfft(h, axis=1) * lax.complex(p["re"], p["im"])[None], n=T, axis=1)

    return Layer({"re": weights(rng, T // 2 + 1, D), "im": weights(rng, T // 2 + 1, D)}, apply)


@layer
def complex_product(rng):
    def apply(p, s, h):
        z = lax.complex(h, jnp.tanh(h)) @ lax.complex(p["re"], p["im"])
        return z.real + z.imag**2

    return Layer({"re": weights(rng, D, 3), "im": weights(rng, D, 3)}, apply)
