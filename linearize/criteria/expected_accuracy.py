"""Expected accuracy: by how much a label is expected to raise the share of the pool that is predicted rightly."""

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
    no_gain_if_redundant,
    over_classes,
    over_column_blocks,
)
from linearize.criteria.projected import SimplexPool, SoftmaxShift, SoftmaxSums
from linearize.probabilities import Probabilities, class_probabilities
from linearize.regression import Regression
from linearize.residuals import Pull
from linearize.types import Array, Float64


@compiled
def _simplex_gain(pool: SimplexPool, before: Array, pull: Pull, labels: Labels, block: Block, most: Array) -> Array:
    q = block.influence(pool.f.dtype)  # [B, U]

    def gain(r: Array) -> Array:
        highest = over_classes(len(pool.f), pool.after(q, r), jnp.maximum)
        return (highest - pool.threshold(q, r) - before[None]).sum(1)

    return expectation(labels, pull, block, most, gain)


@compiled
def _softmax_gain(f: Array, before: Array, p: Array, pull: Pull, block: Block) -> Array:
    """Return Σ_c p_c(x') Σ_x (max_k softmax(z + l onehot(c))_k - before(x)), ``[B]``, O(C) a pair for all labels.

    With z and the lift l of ``SoftmaxShift``, the largest probability is one over the sum of e^w_k, w_k the logits less
    the largest.

    Args:
        f: logits ``[C, U]``.
        before: max_k p_k(f_lin(x)) ``[U]``.
        p: probabilities of the labels ``[U, C]``.
        pull: their residuals.
        block: the candidates.

    """
    sums, C, weights = SoftmaxSums.of(SoftmaxShift.of(f, pull, block)), len(f), p[block.candidates]

    def term(c: Array) -> Array:
        after = sums.lifted(c)
        return weights[:, c] * (1 / (after.others + after.own) - before[None]).sum(1)

    return over_classes(C, term)


class ExpectedAccuracy:
    """A(x') = Σ_c p_c(x') Σ_x max_k p_k(f_lin⁺_c(x)) - Σ_x max_k p_k(f_lin(x)), p_c(x') = p_c(f_lin(x')).

    Σ_x max_k p_k(x) is how many predictions the network itself expects to be right, so A is the decision-theoretic
    value of the label.  Where all outputs lie in the simplex, the p_c(x') weigh the f_lin⁺_c to f_lin again, and A ≥ 0
    with A > 0 only where some label would change some decision: a flip counts by what it is expected to gain, and
    one towards a class that is hardly likelier counts little.  It measures no distance, and both references give the
    same scores; a redundant candidate scores 0.  Source: ours; the value of information (Howard 1966) of a label under
    the look-ahead of eq. 12 (Mohamadi, Bae & Sutherland 2022).

    Args:
        probabilities: ``simplex`` for networks trained with the L2 loss, ``softmax`` for cross-entropy.

    """

    name = "expected-accuracy"
    source = "ours: value of information, Howard 1966, under the block update"
    default_reference: Reference = "linearized"

    def __init__(self, probabilities: Probabilities = "simplex") -> None:
        self.probabilities = probabilities

    def scores(
        self,
        state: Regression,
        reference: Reference,
        block: int = DEFAULT_COLUMNS,
        distance: Distance = "outputs",
    ) -> Float64:
        """Score every candidate, ``[U]``, in one pass over column blocks of S."""
        p = class_probabilities(state.f_lin, self.probabilities)  # [U, C]
        before, block, f_lin = p.max(1), min(block, SMALL_BLOCK), state.f_lin
        pull = Pull.of(f_lin, self.probabilities)
        if self.probabilities != "simplex":
            with jax.enable_x64(True):
                arrays = jnp.asarray(np.ascontiguousarray(f_lin.T)), jnp.asarray(before), jnp.asarray(p)
            gain = over_column_blocks(state, lambda columns: _softmax_gain(*arrays, pull, columns), block)
            return no_gain_if_redundant(state, gain)
        labels, pool = Labels.of(p), SimplexPool.of(f_lin)

        def score(columns: Block) -> Array:
            return _simplex_gain(pool, before, pull, labels, columns, labels.likely[columns.candidates].max())

        return no_gain_if_redundant(state, over_column_blocks(state, score, block, labels.fewest_first()))
