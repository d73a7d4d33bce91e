"""Expected accuracy: by how much a label is expected to raise the share of the pool that is predicted rightly.

Σ_x max_k p_k(x) is how many predictions the network itself expects to be right, so the score is the decision-theoretic
value of the label.  Where all outputs lie in the simplex, the p_c(x') weigh the f_lin⁺_c to f_lin again, and A ≥ 0 with
A > 0 only where some label would change some decision: a flip counts by what it is expected to gain.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from common.losses import PseudoResidual
from linearize.criteria.base import Criterion, Request
from linearize.criteria.generic import confidence_above, expected_value, no_gain_if_redundant
from linearize.criteria.passes import (
    SMALL_BLOCK,
    Labels,
    compiled,
    expectation,
    fast,
    influence,
    over_blocks,
    over_classes,
    over_labels,
)
from linearize.criteria.projected import SimplexPool, SoftmaxShift, SoftmaxSums
from linearize.posterior import Block, Posterior
from linearize.types import Array


@compiled
def _simplex_pass(
    pool: SimplexPool, sure: Array, pull: PseudoResidual, labels: Labels, block: Block, most: Array
) -> Array:
    q = influence(block, pool.f.dtype)  # [B, U]

    def gain(r: Array) -> Array:
        highest = over_classes(len(pool.f), pool.after(q, r), jnp.maximum)
        return (highest - pool.threshold(q, r) - sure[None]).sum(1)

    return expectation(labels, pull, block, most, gain)


@compiled
def _softmax_pass(f: Array, sure: Array, p: Array, pull: PseudoResidual, block: Block) -> Array:
    """Return Σ_c p_c(x') Σ_x (max_k softmax(z + l onehot(c))_k - sure(x)), ``[B]``, O(C) a pair for all labels.

    With z and the lift l of ``SoftmaxShift``, the largest probability is one over the sum of e^w_k, w_k the logits less
    the largest.  f is ``[C, U]``, sure ``[U]``, p ``[U, C]``.
    """
    sums, C, weights = SoftmaxSums.of(SoftmaxShift.of(f, pull, block)), len(f), p[block.candidates]

    def term(c: Array) -> Array:
        after = sums.lifted(c)
        return weights[:, c] * (1 / (after.others + after.own) - sure[None]).sum(1)

    return over_classes(C, term)


def _by_simplex(posterior: Posterior, p: np.ndarray, pull: PseudoResidual, block: int) -> np.ndarray:
    labels, pool, sure = Labels.of(p), SimplexPool.of(posterior.mean), p.max(1)
    return over_labels(posterior, labels, lambda *columns: _simplex_pass(pool, sure, pull, labels, *columns), block)


def _by_softmax(posterior: Posterior, p: np.ndarray, pull: PseudoResidual, block: int) -> np.ndarray:
    with jax.enable_x64(True):
        arrays = jnp.asarray(np.ascontiguousarray(posterior.mean.T)), jnp.asarray(p.max(1)), jnp.asarray(p)
    return over_blocks(posterior, lambda columns: _softmax_pass(*arrays, pull, columns), block)


_PASSES: dict[str, Callable[..., np.ndarray]] = {"simplex": _by_simplex, "softmax": _by_softmax}


def _score(posterior: Posterior, request: Request) -> np.ndarray:
    probabilities, pull = request.loss.probabilities, fast(posterior, request.loss)
    p = probabilities.of(posterior.mean)  # [U, C]
    if pull is not None and (over := _PASSES.get(probabilities.name)):
        scores = over(posterior, p, pull, min(request.block, SMALL_BLOCK))
    else:
        scores = expected_value(posterior, p, confidence_above(posterior.mean, probabilities), request.loss)
    return no_gain_if_redundant(posterior, scores)


EXPECTED_ACCURACY = Criterion(
    name="expected-accuracy",
    formula="A(x') = Σ_c p_c(f_lin(x')) Σ_x max_k p_k(f_lin⁺_c(x)) - Σ_x max_k p_k(f_lin(x))",
    description="whose label, on average, would most raise the accuracy that the network expects of itself on the pool",
    source="ours; value of information, Howard 1966, under Mohamadi, Bae & Sutherland 2022, eq. 12",
    score=_score,
    ranking_target="direction",
    averages=True,
)
