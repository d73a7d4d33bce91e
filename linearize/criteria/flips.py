"""Argmax flips: how many of the pool's predicted classes change if the likeliest label comes back."""

import jax
import jax.numpy as jnp
import numpy as np

from linearize.criteria.base import (
    DEFAULT_COLUMNS,
    Block,
    Distance,
    Finished,
    Reference,
    no_gain_if_redundant,
    over_classes,
    over_column_blocks,
)
from linearize.criteria.mlmoc import Mlmoc
from linearize.lookahead import pseudo_residual
from linearize.probabilities import Probabilities
from linearize.regression import Regression
from linearize.types import Array, Float64


@jax.jit
def _flips(f: Array, before: Array, r: Array, block: Block) -> Array:
    """Σ_x [argmax_c f_lin⁺_c(x) ≠ before(x)] for each x' of the block, ``[B]``; never an array ``[B, U, C]``.

    A prediction flips where some class comes to lie above the one before, or level with it and earlier, as in argmax.

    Args:
        f: f_lin ``[C, U]``.
        before: predicted classes ``[U]``.
        r: residuals of the imagined labels ``[U, C]``.
        block: the candidates.

    """
    C = len(f)
    q = block.influence(jnp.float64)  # [B, U]
    r = r[block.candidates]  # [B, C]
    chosen = jax.nn.one_hot(before, C, axis=0, dtype=f.dtype)  # [C, U]
    held = (chosen * f).sum(0)[None] + q * (r @ chosen)  # [B, U], f_lin⁺ of the class before

    def overtakes(c: Array) -> Array:
        now = f[c][None] + q * r[:, c][:, None]  # [B, U]
        return ((now > held) & (before != c)[None]) | ((now == held) & (before > c)[None])

    return over_classes(C, overtakes, jnp.logical_or).sum(1)


class MlmocFlips:
    """A(x') = #{x : argmax f_lin⁺(x) ≠ argmax f_ref(x)} + tie, with y' = argmax f(x').

    f_ref is f_lin by default (reference ``linearized``), f with reference ``network``.  The tie-breaker is MLMOC
    scaled into [0, 1), so it orders candidates that flip equally many predictions and nothing else.
    The projection onto the simplex and the softmax keep every decision, so ``distance`` matters to ties alone.
    Source: what the published implementation of the look-ahead paper runs by default in place of eq. 13.

    Args:
        probabilities: of the tie-breaker; with ``CrossEntropy``, of the imagined labels too.

    """

    name = "mlmoc-flips"
    source = "the look-ahead paper's published implementation; ties by its eq. 13"
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
        f_lin, r = state.f_lin, pseudo_residual(state, self.probabilities)
        before = decisions(state, reference)
        f = np.ascontiguousarray(f_lin.T)  # [C, U]
        flips = over_column_blocks(state, lambda columns: _flips(f, before, r, columns), block)
        ties = Mlmoc(self.probabilities).scores(state, reference, block, distance)
        return no_gain_if_redundant(state, flips) + below_one(ties)

    def finishing(self, state: Finished, distance: Distance = "outputs") -> float:
        """Return #{x : argmax f(x) ≠ argmax f_lin(x)}."""
        return flipped_by_finishing(state)


def decisions(state: Regression, reference: Reference) -> np.ndarray:
    """Return argmax f_ref of every pool point, ``[U]``."""
    return (state.f_lin if reference == "linearized" else state.f).argmax(1).astype(np.int32)


def flipped_by_finishing(state: Finished) -> float:
    """Return #{x : argmax f(x) ≠ argmax f_lin(x)}."""
    return float((state.f.argmax(1) != state.f_lin.argmax(1)).sum())


def below_one(scores: Float64) -> Float64:
    """Scale non-negative scores into [0, 1), keeping their order."""
    largest = scores.max(initial=0.0)
    return scores / largest * (1 - 1e-9) if largest > 0 else scores
