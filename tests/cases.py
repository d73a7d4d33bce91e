"""Small problems that several test files share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


def random_regression(seed, L, U, C, *, rank=None, residual=0.3):
    """A random positive definite kernel over L + U points with outputs and one-hot targets: (theta, f, Y)."""
    rng = np.random.default_rng(seed)
    J = rng.normal(size=(L + U, rank or (L + U + 5)))
    theta = J @ J.T / J.shape[1]
    f = rng.normal(size=(L + U, C))
    Y = np.eye(C)[rng.integers(C, size=L)]
    f[:L] = Y + residual * rng.normal(size=(L, C))
    return theta, f, Y


def tiny_conv_net(seed=0, channels=(1, 4, 6), classes=3, dtype=np.float64):
    """A convolution network with a frozen batch norm: (apply_fn, variables); inputs [B, 8, 8, 1].

    The same arguments give the same ``apply_fn``: what is compiled for it serves all tests of a process.
    """
    apply_fn, variables = _tiny_conv_net(seed, channels, classes, dtype, jax.config.jax_enable_x64)
    return apply_fn, jax.tree.map(lambda array: array, variables)  # dictionaries of the caller's own


@functools.cache
def _tiny_conv_net(seed, channels, classes, dtype, _x64):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1])), dtype)

    c0, c1, c2 = channels
    params = {
        "conv1": {"kernel": normal(3, 3, c0, c1), "bias": normal(c1)},
        "norm": {"scale": 1 + normal(c1), "bias": normal(c1)},
        "conv2": {"kernel": normal(3, 3, c1, c2)},
        "head": {"kernel": normal(c2, classes), "bias": normal(classes)},
    }
    stats = {"norm": {"mean": normal(c1), "var": jnp.abs(normal(c1)) + 0.5}}

    def conv(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def per_channel(v):
        return v[None, None, None]

    def apply_fn(variables, x):
        p, s = variables["params"], variables["batch_stats"]
        x = conv(x, p["conv1"]["kernel"]) + per_channel(p["conv1"]["bias"])
        x = (x - per_channel(s["norm"]["mean"])) / jnp.sqrt(per_channel(s["norm"]["var"]) + 1e-5)
        x = jnp.tanh(x * per_channel(p["norm"]["scale"]) + per_channel(p["norm"]["bias"]))
        x = jnp.tanh(conv(x, p["conv2"]["kernel"])).mean((1, 2))
        return x @ p["head"]["kernel"] + p["head"]["bias"][None]

    return apply_fn, {"params": params, "batch_stats": stats}


def images(seed, n, dtype=np.float64):
    """Random inputs for ``tiny_conv_net``."""
    return np.random.default_rng(seed).normal(size=(n, 8, 8, 1)).astype(dtype)
