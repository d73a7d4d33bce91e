"""Expected error reduction: how unsure the linearised network stays of the pool, averaged over the labels to come."""

import jax
import jax.numpy as jnp
import numpy as np

from linearize.criteria.base import (
    DEFAULT_COLUMNS,
    SMALL_BLOCK,
    Block,
    Distance,
    Labels,
    Reference,
    compiled,
    expectation,
    over_classes,
    over_column_blocks,
)
from linearize.criteria.projected import SimplexPool, SoftmaxShift, SoftmaxSums
from linearize.probabilities import CrossEntropy, Probabilities, project_onto_simplex, softmax
from linearize.regression import Regression
from linearize.residuals import Pull
from linearize.types import Array, Float64

EXACT = 1024
"""Candidates up to which speed is no reason for passes in float32."""


def _simplex_entropy(pool: SimplexPool, q: Array, r: Array) -> Array:
    """Return Σ_x H(p) with p(x) the projection of f_lin(x) + q(x',x) r(x') onto the simplex, ``[B]``."""
    outputs, tau = pool.after(q, r), pool.threshold(q, r)

    def term(c: Array) -> Array:
        p = jnp.maximum(outputs(c) - tau, 0)
        return p * jnp.log(jnp.maximum(p, 1e-30))

    return -over_classes(len(pool.f), term) @ jnp.ones(pool.f.shape[1], q.dtype)


@compiled
def _simplex_scores(pool: SimplexPool, pull: Pull, labels: Labels, block: Block, most: Array) -> Array:
    dtype = pool.f.dtype
    q = block.influence(dtype)  # [B, U]
    return -expectation(labels, pull, block, most, lambda r: _simplex_entropy(pool, q, r.astype(dtype)))


@compiled
def _softmax_scores(f: Array, p: Array, pull: Pull, block: Block) -> Array:
    """Return -Σ_c p_c(x') Σ_x H(softmax(z + l onehot(c))), O(C) a pair for all C labels.

    A label shifts its own logit alone; z and the lift l are those of ``SoftmaxShift``.  With w_k the logits less the
    largest, Z = Σ_k e^w_k and H = log Z - Σ_k w_k e^w_k / Z.

    Args:
        f: outputs ``[C, U]``.
        p: probabilities of the labels ``[U, C]``.
        pull: their residuals.
        block: the candidates.

    """
    sums, C, weights = SoftmaxSums.of(SoftmaxShift.of(f, pull, block)), len(f), p[block.candidates].astype(f.dtype)

    def term(c: Array) -> Array:
        after = sums.lifted(c)
        Z = after.others + after.own
        H = jnp.log(Z) - (after.of_others + after.of_own) / Z
        return weights[:, c][:, None] * jnp.clip(H, 0, float(np.log(C)))

    return -over_classes(C, term) @ jnp.ones(f.shape[1], f.dtype)


class Eer:
    """A(x') = -Σ_c p_c(x') Σ_x H(p(f_lin⁺_c(x))), where f_lin⁺_c has seen x' with label c; in nats.

    p is the projection onto the simplex, which suits networks trained with the L2 loss, or the softmax, for those
    trained with cross-entropy; never the softmax of an L2-trained network's outputs, which is nearly flat.  The labels'
    weights are p(f(x')).  The criterion measures no change, so both references give the same scores.  A redundant
    candidate leaves f_lin as it is and scores its entropy, -Σ_x H(p(f_lin(x))): below every candidate that is expected
    to lower the entropy, above every one that is expected to raise it.  Source: look-ahead paper, eq. 2.

    The passes over [B, U] run in float32 where there are many candidates.  At U = 5000, C = 10 the scores then differed
    from float64's by 3e-7 relative, where their spread is 3e-4 (simplex) or 2e-5 (softmax); of the 100 best, 100 and 99
    were the same.  With ``CrossEntropy`` they run in float64: a label lifts its logit by tens, and entropies are what
    is left of that.

    Args:
        probabilities: ``simplex`` or ``softmax``.  The projection takes O(C) for each label of positive probability,
            the softmax O(C) for all labels together.
        dtype: of the passes; when absent float64 up to 1,024 candidates, then float32 as said above.

    """

    name = "eer"
    source = "Roy & McCallum, ICML 2001; Mohamadi, Bae & Sutherland, NeurIPS 2022, eq. 2"
    default_reference: Reference = "linearized"

    def __init__(
        self,
        probabilities: Probabilities = "simplex",
        dtype: type[np.float32] | type[np.float64] | None = None,
    ) -> None:
        self.probabilities = probabilities
        self.dtype = dtype

    def scores(
        self,
        state: Regression,
        reference: Reference,
        block: int = DEFAULT_COLUMNS,
        distance: Distance = "outputs",
    ) -> Float64:
        """Score every candidate, ``[U]``, in one pass over column blocks of S.

        ``reference`` and ``distance`` make no difference.
        """
        block, dtype = min(block, SMALL_BLOCK), self._dtype(len(state.u))
        pull = Pull.of(state.f_lin, self.probabilities)
        if self.probabilities != "simplex":
            with jax.enable_x64(True):
                f, p = jnp.asarray(state.f_lin.T, dtype), softmax(state.f)
            return over_column_blocks(state, lambda columns: _softmax_scores(f, p, pull, columns), block)
        labels = Labels.of(project_onto_simplex(state.f))
        pool = SimplexPool.of(state.f_lin, dtype)

        def score(columns: Block) -> Array:
            most = labels.likely[columns.candidates].max()
            return _simplex_scores(pool, pull, labels, columns, most)

        return over_column_blocks(state, score, block, labels.fewest_first())

    def _dtype(self, U: int) -> type[np.float32] | type[np.float64]:
        exact = U <= EXACT or isinstance(self.probabilities, CrossEntropy)
        return self.dtype or (np.float64 if exact else np.float32)
