"""Expected error reduction: how unsure the linearised network stays of the pool, averaged over the labels to come.

Passes over [B, U] by the simplex run in float32 where there are many candidates.  At U = 5000, C = 10 the scores then
differed from float64's by 3e-7 relative, where their spread is 3e-4; of the 100 best, 100 were the same.  By the
softmax they run in float64: a label lifts its logit by tens, and entropies are what is left of that.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from common.losses import PseudoResidual
from linearize.criteria.base import Criterion, Request
from linearize.criteria.generic import expected_value, negative_entropy
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

EXACT = 1024
"""Candidates up to which speed is no reason for passes in float32."""


@compiled
def _simplex_pass(pool: SimplexPool, pull: PseudoResidual, labels: Labels, block: Block, most: Array) -> Array:
    dtype = pool.f.dtype
    q = influence(block, dtype)  # [B, U]

    def entropy(r: Array) -> Array:
        """Σ_x H(p), p(x) the projection of f_lin(x) + q(x',x) r(x') onto the simplex, ``[B]``."""
        outputs, tau = pool.after(q, r), pool.threshold(q, r)

        def term(c: Array) -> Array:
            p = jnp.maximum(outputs(c) - tau, 0)
            return p * jnp.log(jnp.maximum(p, 1e-30))

        return -over_classes(len(pool.f), term) @ jnp.ones(pool.f.shape[1], dtype)

    return -expectation(labels, pull, block, most, lambda r: entropy(r.astype(dtype)))


@compiled
def _softmax_pass(f: Array, p: Array, pull: PseudoResidual, block: Block) -> Array:
    """Return -Σ_c p_c(x') Σ_x H(softmax(z + l onehot(c))), O(C) a pair for all C labels.

    A label shifts its own logit alone; z and the lift l are those of ``SoftmaxShift``.  With w_k the logits less the
    largest, Z = Σ_k e^w_k and H = log Z - Σ_k w_k e^w_k / Z.  f is ``[C, U]``, p ``[U, C]``.
    """
    sums, C, weights = SoftmaxSums.of(SoftmaxShift.of(f, pull, block)), len(f), p[block.candidates].astype(f.dtype)

    def term(c: Array) -> Array:
        after = sums.lifted(c)
        Z = after.others + after.own
        H = jnp.log(Z) - (after.of_others + after.of_own) / Z
        return weights[:, c][:, None] * jnp.clip(H, 0, float(np.log(C)))

    return -over_classes(C, term) @ jnp.ones(f.shape[1], f.dtype)


def by_simplex(
    posterior: Posterior, p: np.ndarray, pull: PseudoResidual, block: int, dtype: type | None = None
) -> np.ndarray:
    """Score by the entropy of projections onto the simplex, O(C) a pair for each label of positive probability.

    Args:
        posterior: the linearised network, its kernel scalar.
        p: the weights of the labels ``[U, C]``.
        pull: what labels pull by.
        block: candidates at once.
        dtype: of the passes; by default as the module says.

    """
    labels = Labels.of(p)
    pool = SimplexPool.of(posterior.mean, dtype or (np.float64 if len(p) <= EXACT else np.float32))
    return over_labels(posterior, labels, lambda *columns: _simplex_pass(pool, pull, labels, *columns), block)


def by_softmax(
    posterior: Posterior, p: np.ndarray, pull: PseudoResidual, block: int, dtype: type = np.float64
) -> np.ndarray:
    """Score by the entropy of softmaxes, O(C) a pair for all labels together.

    Args:
        posterior: the linearised network, its kernel scalar.
        p: the weights of the labels ``[U, C]``.
        pull: what labels pull by.
        block: candidates at once.
        dtype: of the passes.

    """
    with jax.enable_x64(True):
        f = jnp.asarray(posterior.mean.T, dtype)
    return over_blocks(posterior, lambda columns: _softmax_pass(f, p, pull, columns), block)


_PASSES: dict[str, Callable[..., np.ndarray]] = {"simplex": by_simplex, "softmax": by_softmax}


def _score(posterior: Posterior, request: Request) -> np.ndarray:
    p, pull = request.loss.probabilities.of(posterior.f), fast(posterior, request.loss)
    if pull is not None and (over := _PASSES.get(request.loss.probabilities.name)):
        return over(posterior, p, pull, min(request.block, SMALL_BLOCK))
    return expected_value(posterior, p, negative_entropy(request.loss.probabilities), request.loss)


EER = Criterion(
    name="eer",
    # A redundant candidate leaves f_lin as it is and scores its entropy: below every candidate that is expected to
    # lower it, above every one that is expected to raise it.
    formula="A(x') = -Σ_c p_c(f(x')) Σ_x H(p(f_lin⁺_c(x))), in nats",
    description="whose label, averaged over what it may be, would leave the pool's classes surest",
    source="Roy & McCallum 2001; Mohamadi, Bae & Sutherland 2022, eq. 2",
    score=_score,
    ranking_target="direction",
    averages=True,
)
