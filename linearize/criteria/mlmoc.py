"""Most likely model output change: how far all of the pool's outputs move if the likeliest label comes back."""

import jax
import jax.numpy as jnp
import numpy as np

from linearize.criteria.base import (
    DEFAULT_COLUMNS,
    Block,
    Distance,
    Finished,
    Reference,
    absolute_influence,
    no_gain_if_redundant,
    over_column_blocks,
)
from linearize.criteria.projected import expected_distance, moved
from linearize.lookahead import pseudo_labels, pseudo_residual
from linearize.probabilities import Probabilities
from linearize.regression import Regression
from linearize.types import Array, Float64


def output_change(a: Array, q: Array, r: Array) -> Array:
    """Return Σ_x ‖a(x) + q(x',x) r(x')‖₂ for some candidates, ``[B]``, with no array ``[B, U, C]``.

    ‖a + q r‖² = ‖a‖² + 2 q a·r + q² ‖r‖².  Source: look-ahead paper, eq. 13.

    Args:
        a: what finishing training would add ``[U, C]``.
        q: influence ``[B, U]``.
        r: residuals of the imagined labels ``[B, C]``.

    """
    squared = (a**2).sum(1)[None] + q * (2 * (r @ a.T) + q * (r**2).sum(1)[:, None])  # [B, U]
    return jnp.sqrt(jnp.maximum(squared, 0)).sum(1)


@jax.jit
def _block_scores(a: Array, r: Array, block: Block) -> Array:
    return output_change(a, block.influence(jnp.float64), r[block.candidates])


class Mlmoc:
    """A(x') = Σ_x ‖d(f_ref(x)) - d(f_lin⁺(x))‖₂ with y' = argmax f(x').

    d is the identity (distance ``outputs``) or takes outputs to the probabilities that they mean (distance
    ``simplex``).  With reference ``network`` f_ref = f, as the paper prints it; with reference ``linearized``
    f_ref = f_lin, and the sum over outputs is ‖r(x')‖/u(x') · Σ_x |S(x,x')|.  Source: look-ahead paper, eq. 13.

    Args:
        probabilities: ``simplex`` for networks trained with the L2 loss, ``softmax`` for cross-entropy.

    """

    name = "mlmoc"
    source = "Mohamadi, Bae & Sutherland, NeurIPS 2022, eq. 13"
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
        if distance == "simplex":
            certain = np.eye(state.f.shape[1])[pseudo_labels(state)]  # [U, C]
            return expected_distance(state, certain, reference, self.probabilities, block)
        r = pseudo_residual(state, self.probabilities)  # [U, C]
        if reference == "linearized" or not state.a.any():
            return np.linalg.norm(r, axis=1) * absolute_influence(state, block)
        with jax.enable_x64(True):
            arrays = jnp.asarray(state.a), jnp.asarray(r)
        scores = over_column_blocks(state, lambda columns: _block_scores(*arrays, columns), block)
        return no_gain_if_redundant(state, scores)

    def finishing(self, state: Finished, distance: Distance = "outputs") -> float:
        """Return Σ_x ‖d(f(x)) - d(f_lin(x))‖₂."""
        return moved(state, distance, self.probabilities)
