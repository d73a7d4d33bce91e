"""The infinite kernel against wide random networks and against formulas; its blocks, its memory, its end by Ctrl-C."""

import math

import jax
import numpy as np
import pytest
from marks import some_long
from peers import needs_neural_tangents

from linearize import LinearizeError, MemoryBudgetError, empirical_ntk
from linearize.infinite import infinite_kernel, infinite_ntk, plan_infinite
from linearize.infinite_twin import BIAS_STD, GAIN, Conv, Dense, Flatten, GlobalAverage, Relu, Residual, Twin

PLAIN = Twin((Conv(3, 2), Relu(), Conv(), Relu(), Flatten(), Dense(1.0)))
BLOCK = Residual((Conv(3, 2), Relu(), Conv()), (Conv(1, 2),))
RESIDUAL = Twin((Conv(), Relu(), BLOCK, Residual((Relu(), Conv())), Relu(), GlobalAverage(), Dense(1.0)))
MLP = Twin((Flatten(), Dense(), Relu(), Dense(1.0)))
LEAKY = Twin((Conv(3, 2), Relu(0.1), Conv(), Relu(0.3), Flatten(), Dense(1.0)))


def images(n, shape=(1, 6, 8), seed=0):
    """Images that are brighter in one corner: a kernel that mirrors them, or shifts them, gives other numbers."""
    ramp = np.linspace(0.2, 2, shape[1])[:, None] * np.linspace(0.1, 3, shape[2])[None]
    return np.random.default_rng(seed).normal(size=(n, *shape)) * ramp[None, None]


class Finite:
    """A random network of a twin's layers, padded as torch pads: its parameters in the order of its layers."""

    def __init__(self, twin, x, width, seed):
        self.twin, self.width, self.rng, self.params = twin, width, np.random.default_rng(seed), []
        self.run(twin.layers, x)  # makes the parameters

    def weights(self, shape, at):
        if at == len(self.params):
            self.params.append((self.rng.normal(size=shape), self.rng.normal(size=shape[0])))
        return self.params[at]

    def run(self, layers, x, params=None, at=0, last=True):
        """Return (output, number of layers with parameters so far)."""
        for layer in layers:
            if isinstance(layer, Conv):
                W, b = (
                    (params or self.params)[at]
                    if params
                    else self.weights((self.width, x.shape[1], *[layer.kernel] * 2), at)
                )
                pad = [(layer.kernel // 2,) * 2] * 2
                scale = GAIN / math.sqrt(x.shape[1] * layer.kernel**2)
                x = (
                    scale * jax.lax.conv_general_dilated(x, W, (layer.stride,) * 2, pad)
                    + BIAS_STD * b[None, :, None, None]
                )
                at += 1
            elif isinstance(layer, Dense):
                out = 1 if layer.gain == 1 else self.width
                W, b = params[at] if params else self.weights((out, x.shape[1]), at)
                x, at = layer.gain / math.sqrt(x.shape[1]) * x @ W.T + BIAS_STD * b[None], at + 1
            elif isinstance(layer, Residual):
                one, at = self.run(layer.branch, x, params, at)
                other, at = self.run(layer.shortcut, x, params, at)
                x = one + other
            elif isinstance(layer, Relu):
                x = jax.nn.leaky_relu(x, layer.slope)
            else:
                x = x.reshape(len(x), -1) if isinstance(layer, Flatten) else x.mean((2, 3))
        return x, at

    def kernel(self, x):
        return empirical_ntk(lambda v, x: self.run(self.twin.layers, x, v["params"])[0], {"params": self.params}, x)


def recursion(twin, x):
    """Θ∞ by the textbook recursion on covariances of all pairs of pixels, padded as torch pads."""
    sigma = np.einsum("ncij,mckl->nmijkl", x, x) / x.shape[1]
    return propagate(twin.layers, sigma, np.zeros_like(sigma))[1].reshape(len(x), len(x))


def propagate(layers, sigma, theta):
    """Return the covariance and the tangent kernel after some layers."""
    for layer in layers:
        if isinstance(layer, Conv):
            sigma = GAIN**2 * patches(sigma, layer) + BIAS_STD**2
            theta = sigma + GAIN**2 * patches(theta, layer)
        elif isinstance(layer, Dense):
            sigma = layer.gain**2 * sigma + BIAS_STD**2
            theta = sigma + layer.gain**2 * theta
        elif isinstance(layer, Residual):
            one, other = propagate(layer.branch, sigma, theta), propagate(layer.shortcut, sigma, theta)
            sigma, theta = one[0] + other[0], one[1] + other[1]
        elif isinstance(layer, Relu):
            sigma, theta = relu(sigma, theta, layer.slope)
        elif isinstance(layer, GlobalAverage):
            sigma, theta = (k.mean((2, 3, 4, 5), keepdims=True) for k in (sigma, theta))
        else:
            sigma, theta = (
                np.einsum("nmijij->nm", k)[..., None, None, None, None] / np.prod(k.shape[2:4]) for k in (sigma, theta)
            )
    return sigma, theta


def patches(k, layer):
    """Mean over the filter of covariances of pixels under the same weight."""
    pad, s = layer.kernel // 2, layer.stride
    k = np.pad(k, [(0, 0)] * 2 + [(pad, pad)] * 4)
    h, w = (k.shape[2] - layer.kernel) // s + 1, (k.shape[3] - layer.kernel) // s + 1
    rows = [slice(d, d + s * (h - 1) + 1, s) for d in range(layer.kernel)]
    columns = [slice(d, d + s * (w - 1) + 1, s) for d in range(layer.kernel)]
    return np.mean([k[:, :, r, c, r, c] for r in rows for c in columns], axis=0)


def relu(sigma, theta, a):
    """The arc-cosine kernels of degree 1 and 0 (Cho & Saul 2009), for φ(u) = a u + (1 - a) max(u, 0)."""
    sd = np.sqrt(np.einsum("nnijij->nij", sigma))
    scale = sd[:, None, :, :, None, None] * sd[None, :, None, None]
    angle = np.arccos(np.clip(sigma / scale, -1, 1))
    one = scale * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
    zero = (np.pi - angle) / (2 * np.pi)
    both, mixed, positive = a**2, a * (1 - a), (1 - a) ** 2  # E[u max(v, 0)] = σ/2, and a derivative's mean is ½
    return (both + mixed) * sigma + positive * one, theta * (both + mixed + positive * zero)


CASES = {
    "plain": (PLAIN, (1, 6, 8)),
    "plain-odd": (PLAIN, (3, 5, 7)),
    "leaky": (LEAKY, (2, 6, 5)),
    "residual": (RESIDUAL, (2, 4, 6)),
    "residual-odd": (RESIDUAL, (1, 5, 6)),
    "mlp": (MLP, (2, 3, 4)),
}


@needs_neural_tangents
@pytest.mark.parametrize("case", [*(case for case in CASES if case != "residual-odd"), *some_long("residual-odd")])
def test_it_follows_the_recursion(case):
    twin, shape = CASES[case]
    x = images(3, shape)
    theta = infinite_ntk(twin, x)
    np.testing.assert_allclose(theta, recursion(twin, x), rtol=1e-6)  # angles of 0 are off by √eps
    np.testing.assert_allclose(infinite_ntk(twin, x[:2], x[1:]), theta[:2, 1:], rtol=1e-6)


@pytest.mark.long  # of the reference itself
@pytest.mark.parametrize(
    ("twin", "width", "shape"), [(PLAIN, 64, (1, 6, 8)), (LEAKY, 64, (1, 6, 8)), (MLP, 512, (1, 3, 4))]
)
@pytest.mark.usefixtures("x64")
def test_the_recursion_is_the_limit_of_wide_networks(twin, width, shape):
    x = images(3, shape)
    drawn = np.array([Finite(twin, x, width, seed).kernel(x) for seed in range(6)])
    theta = recursion(twin, x)
    error = drawn.std(0, ddof=1) / math.sqrt(len(drawn))
    np.testing.assert_array_less(np.abs(drawn.mean(0) - theta), 4 * error)
    assert (error < 0.15 * theta.diagonal().min()).all()  # so that the line above says something


@needs_neural_tangents
def test_blocks_and_budgets_change_nothing(monkeypatch):
    x = images(11)
    whole = infinite_ntk(PLAIN, x)
    monkeypatch.setattr("linearize.infinite.LARGEST_BLOCK", 4)
    seen, plans = [], []
    theta = infinite_ntk(PLAIN, x, progress=lambda *step: seen.append(step), on_plan=plans.append)
    np.testing.assert_allclose(theta, whole, rtol=1e-12)
    np.testing.assert_array_equal(theta, theta.T)
    assert seen == [(done + 1, 6) for done in range(6)]  # 3 blocks a side, those below the diagonal left out
    assert plans[0].block == (4, 4)
    tight = infinite_ntk(PLAIN, x, x[:5], memory_budget=8 * 55 + plans[0].temporary // 2, on_plan=plans.append)
    assert plans[1].block[0] < 4
    assert plans[1].bytes <= 8 * 55 + plans[0].temporary // 2
    np.testing.assert_allclose(tight, whole[:, :5], rtol=1e-6)
    kernel = infinite_kernel(PLAIN, x[:4], x[4:])
    np.testing.assert_allclose(np.block([[kernel.XX, kernel.XU], [kernel.XU.T, kernel.UU]]), whole, rtol=1e-12)


@needs_neural_tangents
def test_what_is_not_affordable_is_refused_beforehand():
    with pytest.raises(MemoryBudgetError, match="takes .* even one pair at a time, and the memory budget is 1 MiB"):
        plan_infinite(PLAIN, (1, 28, 28), 600, memory_budget="1MiB")
    with pytest.raises(
        LinearizeError, match="TFLOP, since global average pooling .* all pairs of pixels; expected at most"
    ):
        plan_infinite(RESIDUAL, (3, 32, 32), 20000, memory_budget="64GiB")
    plan = plan_infinite(PLAIN, (1, 28, 28), 600, memory_budget="1GiB")
    assert "infinite-width kernel 600 × 600 in blocks of 64 × 64, pixels apart, float64" in plan.summary()
    assert plan.flops < 1e11


@needs_neural_tangents
def test_an_interrupt_ends_it_and_bad_images_are_named():
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        infinite_ntk(MLP, images(3), progress=stop)
    with pytest.raises(LinearizeError, match=r"expected images \[N, C, H, W\]"):
        infinite_ntk(MLP, images(3)[0])
    with pytest.raises(LinearizeError, match="NaN or infinity"):
        infinite_ntk(MLP, images(3) * np.nan)


@pytest.mark.usefixtures("without_neural_tangents")
def test_its_absence_is_named():
    with pytest.raises(LinearizeError, match="pip install --no-deps neural-tangents"):
        infinite_ntk(MLP, images(2))
