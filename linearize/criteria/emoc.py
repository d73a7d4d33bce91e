"""Expected model output change: how far the pool's outputs move, averaged over the labels that may come back."""

import jax
import jax.numpy as jnp
import numpy as np

from linearize.criteria.base import (
    DEFAULT_COLUMNS,
    Block,
    Distance,
    Finished,
    Labels,
    Reference,
    absolute_influence,
    expectation,
    no_gain_if_redundant,
    over_column_blocks,
)
from linearize.criteria.mlmoc import output_change
from linearize.criteria.projected import expected_distance, moved
from linearize.probabilities import Probabilities, class_probabilities
from linearize.regression import Regression
from linearize.residuals import Pull
from linearize.types import Array, Float64


@jax.jit
def _block_scores(a: Array, pull: Pull, labels: Labels, block: Block, most: Array) -> Array:
    q = block.influence(jnp.float64)  # [B, U]
    return expectation(labels, pull, block, most, lambda r: output_change(a, q, r))


class Emoc:
    """A(x') = Σ_c p_c(x') Σ_x ‖d(f_ref(x)) - d(f_lin⁺_c(x))‖₂, where f_lin⁺_c has seen x' with label c.

    d is the identity (distance ``outputs``) or takes outputs to the probabilities that they mean (``simplex``).  p(x')
    is the projection of f(x') onto the simplex, which suits networks trained with the L2 loss, or the softmax, for
    those trained with cross-entropy; labels with p_c = 0 cost nothing.  With reference ``network`` f_ref = f; with
    reference ``linearized`` f_ref = f_lin, and the sum over outputs factors into
    Σ_x |S(x,x')| / u(x') · Σ_c p_c(x') ‖r(x', c)‖.  Source: look-ahead paper, eq. 3.

    Args:
        probabilities: ``simplex`` or ``softmax``.

    """

    name = "emoc"
    source = "Freytag, Rodner & Denzler, ECCV 2014; Mohamadi, Bae & Sutherland, NeurIPS 2022, eq. 3"
    default_reference: Reference = "network"

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
        pull, p = Pull.of(state.f_lin, self.probabilities), class_probabilities(state.f, self.probabilities)
        if distance == "simplex":
            return expected_distance(state, p, reference, self.probabilities, block)
        if reference == "linearized" or not state.a.any():
            # ‖step onehot(c) - m‖² = ‖m‖² - 2 step m_c + step²
            squared = (pull.m**2).sum(1, keepdims=True) - 2 * pull.step * pull.m + pull.step**2  # [U, C]
            return (p * np.sqrt(np.maximum(squared, 0))).sum(1) * absolute_influence(state, block)
        labels = Labels.of(p)
        with jax.enable_x64(True):
            a = jnp.asarray(state.a)

        def score(columns: Block) -> Array:
            return _block_scores(a, pull, labels, columns, labels.likely[columns.candidates].max())

        return no_gain_if_redundant(state, over_column_blocks(state, score, block, labels.fewest_first()))

    def finishing(self, state: Finished, distance: Distance = "outputs") -> float:
        """Return Σ_x ‖d(f(x)) - d(f_lin(x))‖₂."""
        return moved(state, distance, self.probabilities)
