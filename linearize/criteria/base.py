"""What a look-ahead criterion is, and the column blocks that all of them run in."""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from linearize.lookahead import influence, pseudo_residual
from linearize.regression import Regression
from linearize.types import Array, Float64

Reference = Literal["network", "linearized"]
"""What the change is measured from: the network's outputs f, or the linearised network's f_lin."""

DEFAULT_COLUMNS = 256


class Criterion(Protocol):
    """A function of the regression's state; higher means query first."""

    name: str
    source: str
    default_reference: Reference

    def scores(self, state: Regression, reference: Reference, block: int = DEFAULT_COLUMNS) -> Float64:
        """Score every candidate, ``[U]``; redundant candidates score 0."""
        ...


class Block(NamedTuple):
    """The columns of one block of B candidates x'."""

    q: Array  # [U, B], S(x,x')/u(x')
    r: Array  # [B, C], y' - f_lin(x')


def over_column_blocks(state: Regression, block: int, score: Callable[[Block], Array]) -> Float64:
    """Apply ``score`` to every block of candidates, at U·B memory, and give redundant candidates the score 0.

    Args:
        state: the regression on the labelled set.
        block: B, candidates a block; the last block is padded so that nothing recompiles.
        score: maps a block to one score a candidate ``[B]``; called inside ``jax.enable_x64``.

    Returns:
        Scores ``[U]``.

    """
    U = len(state.u)
    block = min(block, U)
    r = pseudo_residual(state)  # [U, C]
    scores = np.empty(U)
    with jax.enable_x64(True):
        for start in range(0, U, block):
            wanted = np.arange(start, start + block).clip(max=U - 1)
            values = np.asarray(score(Block(jnp.asarray(influence(state, wanted)), jnp.asarray(r[wanted]))))
            scores[start : start + block] = values[: U - start]
    return np.where(state.redundant, 0.0, scores)
