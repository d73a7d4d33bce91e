"""Expected argmax flips: how many of the pool's predicted classes change, averaged over the labels to come."""

import jax
import jax.numpy as jnp
import numpy as np

from linearize.criteria.base import (
    DEFAULT_COLUMNS,
    SMALL_BLOCK,
    Block,
    Distance,
    Finished,
    Reference,
    compiled,
    no_gain_if_redundant,
    over_classes,
    over_column_blocks,
)
from linearize.criteria.emoc import Emoc
from linearize.criteria.flips import below_one, decisions, flipped_by_finishing
from linearize.probabilities import Probabilities, class_probabilities
from linearize.regression import Regression
from linearize.residuals import Pull
from linearize.types import Array, Float64

TIE = 1e-6
"""What the tie-breaker is worth at most, in flips."""


@compiled
def _expected_flips(f: Array, before: Array, p: Array, pull: Pull, block: Block) -> Array:
    """Σ_c p_c(x') #{x : argmax f_lin⁺_c(x) ≠ before(x)} for each x' of the block, ``[B]``, O(C) a pair for all labels.

    A label lifts its own class alone: where it pulls by step · onehot(c) - m(x'), f_lin⁺_c = z + l onehot(c) with
    z = f(x) - q m(x') and l = step · q.  So b = before(x) holds under the label c ≠ b where no class but c overtakes
    z_b, nor z_c + l does, and under the label b where none overtakes z_b + l.

    Args:
        f: f_lin ``[C, U]``.
        before: predicted classes ``[U]``.
        p: probabilities of the labels ``[U, C]``.
        pull: their residuals.
        block: the candidates.

    """
    C = len(f)
    q, of_candidates, weights = block.influence(f.dtype), jnp.asarray(pull.m)[block.candidates], p[block.candidates]
    lift = pull.step * q  # [B, U]; the others [B, C]
    chosen = jax.nn.one_hot(before, C, axis=0, dtype=f.dtype)  # [C, U]
    held = (chosen * f).sum(0)[None] - q * (of_candidates @ chosen)  # [B, U], z_b

    def z(c: Array) -> Array:
        return f[c][None] - q * of_candidates[:, c][:, None]

    def overtakes(c: Array, value: Array, level: Array) -> Array:
        return ((value > level) & (before != c)[None]) | ((value == level) & (before > c)[None])

    over = over_classes(C, lambda c: overtakes(c, z(c), held).astype(jnp.int32))  # how many overtake z_b
    lost = over_classes(C, lambda c: overtakes(c, z(c), held + lift), jnp.logical_or)  # under the label b itself

    def flipped(c: Array) -> Array:
        others = over > overtakes(c, z(c), held).astype(jnp.int32)
        return jnp.where((before == c)[None], lost, others | overtakes(c, z(c) + lift, held))

    return over_classes(C, lambda c: weights[:, c] * flipped(c).sum(1))


class EmocFlips:
    """A(x') = Σ_c p_c(x') #{x : argmax f_lin⁺_c(x) ≠ argmax f_ref(x)} + tie, where f_lin⁺_c has seen x' with label c.

    ``mlmoc-flips`` averaged over the labels that may come back instead of the likeliest, which for the candidates that
    it picks is often wrong.  p = p(f_lin(x')), so that in sequential queries the answers count.  The tie-breaker is
    EMOC scaled into [0, 1e-6): it orders candidates that are expected to flip equally many predictions, mostly none.
    ``distance`` matters to it alone.  Source: ours; of its parts Freytag, Rodner & Denzler, ECCV 2014.

    Args:
        probabilities: ``simplex`` for networks trained with the L2 loss, ``softmax`` for cross-entropy.

    """

    name = "emoc-flips"
    source = "ours: mlmoc-flips averaged over labels"
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
        """Score every candidate, ``[U]``, in two passes over column blocks of S."""
        before, p = decisions(state, reference), class_probabilities(state.f_lin, self.probabilities)
        f = np.ascontiguousarray(state.f_lin.T)  # [C, U]
        with jax.enable_x64(True):
            arrays = jnp.asarray(f), jnp.asarray(before), jnp.asarray(p), Pull.of(state.f_lin, self.probabilities)
        flips = over_column_blocks(state, lambda columns: _expected_flips(*arrays, columns), min(block, SMALL_BLOCK))
        ties = Emoc(self.probabilities).scores(state, reference, block, distance)
        return no_gain_if_redundant(state, flips) + TIE * below_one(ties)

    def finishing(self, state: Finished, distance: Distance = "outputs") -> float:
        """Return #{x : argmax f(x) ≠ argmax f_lin(x)}."""
        return flipped_by_finishing(state)
