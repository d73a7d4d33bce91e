"""Layers in which parameters meet data in every way that we could think of, and random networks made of them.

Between layers a value is ``h [B, T, D]``.  A layer may put out anything ``[B, ...]``: a fixed random matrix brings it
back to ``[B, T, D]``, so that any layers follow one another.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

T, D = 12, 4


class Layer(NamedTuple):
    params: dict[str, Any]
    apply: Callable[..., Any]  # (params, state, h [B, T, D]) -> [B, ...]
    state: Any = None  # a collection that is not differentiated


LAYERS: dict[str, Callable[[np.random.Generator], Layer]] = {}


def layer(make):
    LAYERS[make.__name__] = make
    return make


def weights(rng, *shape, dtype=np.float64):
    fan_in = np.prod(shape[:-1]) if len(shape) > 1 else 1
    return np.asarray(rng.normal(size=shape) / np.sqrt(max(fan_in, 1)), dtype)


def network(names, seed=0, classes=3, dtype=np.float64):
    """Chain layers and a dense head: (apply_fn, variables); inputs ``[B, T, D]``."""

    def typed(leaf):
        return leaf.astype(dtype) if getattr(leaf, "dtype", None) == np.float64 else leaf

    rng = np.random.default_rng(seed)
    layers = [jax.tree.map(typed, LAYERS[name](rng)) for name in names]
    bridges = []
    for made in layers:
        out = jax.eval_shape(made.apply, made.params, made.state, jax.ShapeDtypeStruct((1, T, D), dtype))
        size = int(np.prod(out.shape))
        bridges.append((rng.normal(size=(size, T * D)) / np.sqrt(max(size, 1))).astype(dtype))
    params = {f"{at}_{name}": made.params for at, (name, made) in enumerate(zip(names, layers, strict=True))}
    params["head"] = jax.tree.map(typed, {"kernel": weights(rng, T * D, classes), "bias": weights(rng, classes)})
    state = {str(at): made.state for at, made in enumerate(layers)}

    def apply_fn(variables, x):
        h = x
        for at, (name, made, bridge) in enumerate(zip(names, layers, bridges, strict=True)):
            y = made.apply(variables["params"][f"{at}_{name}"], variables["state"][str(at)], h)
            h = jnp.tanh(y.reshape(len(x), -1) @ bridge + 0.5 * x.reshape(len(x), -1)).reshape(-1, T, D)
        head = variables["params"]["head"]
        return h.reshape(len(x), -1) @ head["kernel"] + head["bias"][None]

    return apply_fn, {"params": params, "state": state}


def inputs(seed, n, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=(n, T, D)).astype(dtype)


def chains(count, seed=0):
    """Every layer once, in random chains of ``count``."""
    names = np.random.default_rng(seed).permutation(sorted(LAYERS)).tolist()
    return ["+".join(names[start : start + count]) for start in range(0, len(names), count)]
