"""Most likely model output change: how far all of the pool's outputs move if the likeliest label comes back."""

import jax
import jax.numpy as jnp
import numpy as np

from linearize.criteria.base import (
    DEFAULT_COLUMNS,
    Block,
    Reference,
    absolute_influence,
    no_gain_if_redundant,
    over_column_blocks,
)
from linearize.lookahead import pseudo_residual
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
    """A(x') = Σ_x ‖f_ref(x) - f_lin⁺(x)‖₂ with y' = argmax f(x').

    With reference ``network`` f_ref = f, as the paper prints it; with reference ``linearized`` f_ref = f_lin, and the
    sum is ‖r(x')‖/u(x') · Σ_x |S(x,x')|.  Source: look-ahead paper, eq. 13.
    """

    name = "mlmoc"
    source = "Mohamadi, Bae & Sutherland, NeurIPS 2022, eq. 13"
    default_reference: Reference = "network"

    def scores(self, state: Regression, reference: Reference, block: int = DEFAULT_COLUMNS) -> Float64:
        """Score every candidate, ``[U]``, in one pass over column blocks of S."""
        r = pseudo_residual(state)  # [U, C]
        if reference == "linearized" or not state.a.any():
            return np.linalg.norm(r, axis=1) * absolute_influence(state, block)
        with jax.enable_x64(True):
            arrays = jnp.asarray(state.a), jnp.asarray(r)
        scores = over_column_blocks(state, lambda columns: _block_scores(*arrays, columns), block)
        return no_gain_if_redundant(state, scores)
