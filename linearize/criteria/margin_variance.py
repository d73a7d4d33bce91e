"""Margin variance: candidates of small margin whose label would tell most about other points of small margin.

Both forms ask for a candidate whose own label is open, m(x') high, and whose label takes much of the posterior variance
of points whose decision is open too.  By the block update, a label at x' takes S(x,x')²/u(x') of the variance S(x,x),
whatever the label is; unlike the size of an imagined change, that needs no guess of the label.  With the full kernel it
is tr(S(x,x') G(x') S(x',x))/C.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from common.probabilities import negative_margin
from linearize.criteria.base import Criterion, Request
from linearize.criteria.generic import no_gain_if_redundant
from linearize.criteria.passes import over_blocks
from linearize.criteria.pool_sum import PoolSum, moderate
from linearize.posterior import Block, Posterior
from linearize.types import Array

ENTRIES = 2**18
"""Entries of S a block of a scalar kernel: squared they stay in the cache, and BLAS sums them on one thread, which a
job beside does not hold up."""


def _variance_taken(posterior: Posterior, weights: np.ndarray, block: int) -> np.ndarray:
    """Return Σ_x w(x) tr(S(x,x') G(x') S(x',x))/C of every candidate, ``[U]``."""
    if posterior.outputs > 1:
        return over_blocks(posterior, lambda columns: _of_outputs(weights, columns), block)
    dtype = posterior.rows(slice(0, 1)).dtype if moderate(posterior.variance) else np.dtype(np.float64)
    taken, weights = np.empty(len(weights)), weights.astype(dtype)
    rows = max(ENTRIES // len(taken), 1)
    for start in range(0, len(taken), rows):  # in NumPy: XLA takes three times as long
        at, S, G = posterior.block(slice(start, start + rows))
        taken[at] = np.square(S[:, 0], dtype=dtype) @ weights * G[:, 0, 0]
    return taken


@jax.jit
def _of_outputs(weights: Array, block: Block) -> Array:
    S = jnp.asarray(block.S, jnp.float64)  # [B, k, U k]
    B, k, _ = S.shape
    return (S * (jnp.asarray(block.G) @ S)).sum(1).reshape(B, -1, k).mean(2) @ weights


def _criterion(
    name: str, formula: str, description: str, source: str, weight: Callable[[Posterior], np.ndarray]
) -> Criterion:
    def weighted(posterior: Posterior, request: Request) -> tuple[np.ndarray, np.ndarray]:
        m = 1 + negative_margin(request.loss.probabilities.of(posterior.mean))  # [U]
        return m, np.where(posterior.redundant, 0.0, m * weight(posterior))

    def score(posterior: Posterior, request: Request) -> np.ndarray:
        m, weights = weighted(posterior, request)
        return no_gain_if_redundant(posterior, m * _variance_taken(posterior, weights, request.block))

    def pool_sum(posterior: Posterior, request: Request) -> PoolSum:
        m, weights = weighted(posterior, request)
        return PoolSum(np.where(posterior.redundant, 0.0, m / posterior.u), weights, 2)

    return Criterion(name, formula, description, source, score, ranking_target="direction", pool_sum=pool_sum)


MARGIN_VARIANCE = _criterion(
    "margin-variance",  # variance reduction (A-optimality) over the points that are still open
    "A(x') = m(x') Σ_x m(x) S(x,x')²/u(x'), m = 1 - margin of p(f_lin)",
    "with a small margin, whose label would take most of the variance of points of small margin",
    "ours; variance reduction, Cohn, Ghahramani & Jordan 1996",
    lambda posterior: np.ones(len(posterior.f)),
)
MARGIN_INFLUENCE = _criterion(
    "margin-influence",  # S/√(u u) is a posterior correlation, so every point has the same say
    "A(x') = m(x') Σ_x m(x) S(x,x')²/(u(x) u(x')), m = 1 - margin of p(f_lin)",
    "with a small margin, whose label would take the largest share of the variance of points of small margin",
    "ours; information density, Settles & Craven 2008, with the posterior correlation",
    lambda posterior: 1 / posterior.u,
)
