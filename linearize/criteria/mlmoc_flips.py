"""Argmax flips: how many of the pool's predicted classes change if the likeliest label comes back."""

import jax
import jax.numpy as jnp
import numpy as np

from linearize.criteria.base import Criterion, Request
from linearize.criteria.generic import (
    before,
    below_one,
    expected_value,
    flipped_by_finishing,
    flips_from,
    likeliest,
    no_gain_if_redundant,
)
from linearize.criteria.mlmoc import MLMOC
from linearize.criteria.passes import fast, influence, over_blocks, over_classes
from linearize.posterior import Block, Posterior
from linearize.types import Array


@jax.jit
def _pass(f: Array, decided: Array, r: Array, block: Block) -> Array:
    """Σ_x [argmax_c f_lin⁺_c(x) ≠ decided(x)] for each x' of the block, ``[B]``; never an array ``[B, U, C]``.

    A prediction flips where some class comes to lie above the one before, or level with it and earlier, as in argmax.
    f is f_lin ``[C, U]``, decided ``[U]``, r the residuals of the imagined labels ``[U, C]``.
    """
    C, q, r = len(f), influence(block, jnp.float64), r[block.candidates]  # q [B, U], r [B, C]
    chosen = jax.nn.one_hot(decided, C, axis=0, dtype=f.dtype)  # [C, U]
    held = (chosen * f).sum(0)[None] + q * (r @ chosen)  # [B, U], f_lin⁺ of the class before

    def overtakes(c: Array) -> Array:
        now = f[c][None] + q * r[:, c][:, None]  # [B, U]
        return ((now > held) & (decided != c)[None]) | ((now == held) & (decided > c)[None])

    return over_classes(C, overtakes, jnp.logical_or).sum(1)


def _score(posterior: Posterior, request: Request) -> np.ndarray:
    labels, pull, then = likeliest(posterior), fast(posterior, request.loss), before(posterior, request)
    if pull is not None:
        f, decided, r = np.ascontiguousarray(posterior.mean.T), then.argmax(1).astype(np.int32), pull.of(labels)
        flips = over_blocks(posterior, lambda block: _pass(f, decided, r, block), request.block)
    else:
        flips = expected_value(posterior, labels, flips_from(then), request.loss)
    return no_gain_if_redundant(posterior, flips) + below_one(MLMOC.score(posterior, request))


MLMOC_FLIPS = Criterion(
    name="mlmoc-flips",
    # MLMOC in [0, 1) orders candidates that flip equally many predictions, and nothing else; d matters to it alone.
    formula="A(x') = #{x : argmax f_lin⁺(x) ≠ argmax f_ref(x)} + MLMOC/max MLMOC, with y' = argmax f(x')",
    description="whose likeliest label would flip most predicted classes of the pool",
    source="the published code of Mohamadi, Bae & Sutherland 2022; ties by eq. 13",
    score=_score,
    ranking_target="flips",
    takes=frozenset({"reference", "distance"}),
    finishing=flipped_by_finishing,
)
