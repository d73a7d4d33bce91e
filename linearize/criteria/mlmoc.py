"""Most likely model output change: how far all of the pool's outputs move if the likeliest label comes back."""

import jax
import jax.numpy as jnp

from linearize.criteria.base import DEFAULT_COLUMNS, Block, Reference, over_column_blocks
from linearize.regression import Regression
from linearize.types import Array, Float64


@jax.jit
def _output_change(a: Array, block: Block) -> Array:
    """Σ_x √(‖a(x)‖² + 2 q a(x)·r(x') + q² ‖r(x')‖²) for each x' of the block, ``[B]``."""
    q, r = block
    squared = (a**2).sum(1)[:, None] + 2 * q * (a @ r.T) + q**2 * (r**2).sum(1)[None]  # [U, B]
    return jnp.sqrt(jnp.maximum(squared, 0)).sum(0)


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
        a = state.a if reference == "network" else 0.0 * state.a
        return over_column_blocks(state, block, lambda columns: _output_change(a, columns))
