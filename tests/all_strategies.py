"""What tests of all strategies share: their names, and what stands in the place of slow or optional parts."""

import numpy as np

from linearize import Kernel
from pipeline.infinite import InfiniteKernel
from pipeline.queries import STRATEGIES
from pipeline.queries.registry import SUFFIXES

NAMES = [*STRATEGIES, *(f"{name}-{mode}" for mode in SUFFIXES for name in ("mlmoc", "margin-lin", "dynamical"))]
"""Every strategy, but of the modes one criterion with S, one without, and gradients: others differ in what they sum."""


def gaussian_kernel(X, pool):
    """exp(-‖x - x'‖²/64) over labelled ∪ candidates, as ``QueryState.infinite`` gives it."""
    x = np.concatenate([X, pool]).reshape(len(X) + len(pool), -1).astype(float)
    theta = np.exp(-((x[:, None] - x) ** 2).sum(2) / 64)
    L = len(X)
    return InfiniteKernel(Kernel(theta[:L, :L], theta[:L, L:], theta[L:, L:]))


def sampled(classes, passes=6):
    """A network in its passes with dropout, as ``QueryState.sample`` gives it: x W_k, W_k drawn by the seed."""

    def sample(x, seed):
        x = np.asarray(x, float).reshape(len(x), -1)
        return np.einsum("nd,kdc->knc", x, np.random.default_rng(seed).normal(size=(passes, x.shape[1], classes)))

    return sample
