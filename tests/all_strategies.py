"""What tests of all strategies share: their names, and a kernel in the place of the infinite-width one."""

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
