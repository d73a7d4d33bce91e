"""Unsure candidates that inform unsure points: the margin, weighed by what the label would tell about the pool.

Both forms ask for a candidate whose own label is open, m(x') high, and whose label takes much of the posterior variance
of points whose decision is open too.  By the block update, a label at x' takes S(x,x')²/u(x') of the variance S(x,x),
whatever the label is; unlike the size of an imagined change, that needs no guess of the label.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from linearize.criteria.base import (
    DEFAULT_COLUMNS,
    Block,
    Distance,
    Reference,
    no_gain_if_redundant,
    over_column_blocks,
)
from linearize.criteria.halfway import negative_margin
from linearize.probabilities import Probabilities, class_probabilities
from linearize.regression import Regression
from linearize.types import Array, Float64


@jax.jit
def _variance_taken(weights: Array, block: Block) -> Array:
    S = jnp.asarray(block.S, jnp.float64)
    return (S * S) @ weights * block.per_u


@dataclass(frozen=True)
class Unsure:
    """A(x') = m(x') Σ_x m(x) w(x) S(x,x')²/u(x'), with m = 1 - margin of p(f_lin) and a weight w of each form.

    It measures no distance, and both references give the same scores; a redundant candidate scores 0.

    Args:
        name: what users call it.
        source: whom to cite.
        weight: w of the pool ``[U]``.
        probabilities: ``simplex`` for networks trained with the L2 loss, ``softmax`` for cross-entropy.

    """

    name: str
    source: str
    weight: Callable[[Regression], Float64]
    probabilities: Probabilities = "simplex"
    default_reference: Reference = "linearized"

    def scores(
        self,
        state: Regression,
        reference: Reference,
        block: int = DEFAULT_COLUMNS,
        distance: Distance = "outputs",
    ) -> Float64:
        """Score every candidate, ``[U]``, in one pass over column blocks of S."""
        m = 1 + negative_margin(class_probabilities(state.f_lin, self.probabilities))  # [U]
        weights = np.where(state.redundant, 0.0, m * self.weight(state))
        taken = over_column_blocks(state, lambda columns: _variance_taken(weights, columns), block)
        return no_gain_if_redundant(state, m * taken)


def margin_variance(probabilities: Probabilities = "simplex") -> Unsure:
    """A(x') = m(x') Σ_x m(x) S(x,x')²/u(x'): the variance that the label takes from unsure points, in kernel units.

    This is the variance reduction of Gaussian-process regression over the points that are still open (A-optimality,
    Cohn, Ghahramani & Jordan 1996).  Points that the labelled set says little about weigh most.
    """
    source = "ours: variance reduction, Cohn, Ghahramani & Jordan 1996, where the margin is small"
    return Unsure("margin-variance", source, lambda state: np.ones(len(state.u)), probabilities)


def margin_influence(probabilities: Probabilities = "simplex") -> Unsure:
    """A(x') = m(x') Σ_x m(x) S(x,x')²/(u(x) u(x')): the share of unsure points' variance that the label takes.

    S/√(u u) is a posterior correlation, so every point has the same say, whatever the size of its gradient: an
    information density (Settles & Craven 2008) whose similarity forgets what the labelled set already explains.
    """
    source = "ours: information density, Settles & Craven 2008, with the posterior correlation"
    return Unsure("margin-influence", source, lambda state: 1 / state.u, probabilities)
