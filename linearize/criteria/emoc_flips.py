"""Expected argmax flips: how many of the pool's predicted classes change, averaged over the labels to come.

``mlmoc-flips`` imagines the likeliest label, which for the candidates that it picks is often wrong.
"""

import jax
import jax.numpy as jnp
import numpy as np

from common.losses import PseudoResidual
from linearize.criteria.base import Criterion, Request
from linearize.criteria.emoc import EMOC
from linearize.criteria.generic import (
    before,
    below_one,
    expected_value,
    flipped_by_finishing,
    flips_from,
    no_gain_if_redundant,
)
from linearize.criteria.passes import SMALL_BLOCK, compiled, fast, influence, over_blocks, over_classes
from linearize.posterior import Block, Posterior
from linearize.types import Array

TIE = 1e-6
"""What the tie-breaker is worth at most, in flips."""


@compiled
def _pass(f: Array, decided: Array, p: Array, pull: PseudoResidual, block: Block) -> Array:
    """Σ_c p_c(x') #{x : argmax f_lin⁺_c(x) ≠ decided(x)} for each x' of the block, ``[B]``, O(C) a pair for all labels.

    A label lifts its own class alone: where it pulls by step · onehot(c) - m(x'), f_lin⁺_c = z + l onehot(c) with
    z = f(x) - q m(x') and l = step · q.  So b = decided(x) holds under the label c ≠ b where no class but c overtakes
    z_b, nor z_c + l does, and under the label b where none overtakes z_b + l.  f is f_lin ``[C, U]``, p ``[U, C]``.
    """
    C = len(f)
    q, of_candidates, weights = influence(block, f.dtype), jnp.asarray(pull.m)[block.candidates], p[block.candidates]
    lift = pull.step * q  # [B, U]; the others [B, C]
    chosen = jax.nn.one_hot(decided, C, axis=0, dtype=f.dtype)  # [C, U]
    held = (chosen * f).sum(0)[None] - q * (of_candidates @ chosen)  # [B, U], z_b

    def z(c: Array) -> Array:
        return f[c][None] - q * of_candidates[:, c][:, None]

    def overtakes(c: Array, value: Array, level: Array) -> Array:
        return ((value > level) & (decided != c)[None]) | ((value == level) & (decided > c)[None])

    over = over_classes(C, lambda c: overtakes(c, z(c), held).astype(jnp.int32))  # how many overtake z_b
    lost = over_classes(C, lambda c: overtakes(c, z(c), held + lift), jnp.logical_or)  # under the label b itself

    def flipped(c: Array) -> Array:
        others = over > overtakes(c, z(c), held).astype(jnp.int32)
        return jnp.where((decided == c)[None], lost, others | overtakes(c, z(c) + lift, held))

    return over_classes(C, lambda c: weights[:, c] * flipped(c).sum(1))


def _score(posterior: Posterior, request: Request) -> np.ndarray:
    then, p = before(posterior, request), request.loss.probabilities.of(posterior.mean)
    pull = fast(posterior, request.loss)
    if pull is not None:
        f, decided = np.ascontiguousarray(posterior.mean.T), then.argmax(1).astype(np.int32)
        with jax.enable_x64(True):
            arrays = jnp.asarray(f), jnp.asarray(decided), jnp.asarray(p), pull
        flips = over_blocks(posterior, lambda block: _pass(*arrays, block), min(request.block, SMALL_BLOCK))
    else:
        flips = expected_value(posterior, p, flips_from(then), request.loss)
    return no_gain_if_redundant(posterior, flips) + TIE * below_one(EMOC.score(posterior, request))


EMOC_FLIPS = Criterion(
    name="emoc-flips",
    # p is that of f_lin, so that in sequential queries the answers count; EMOC orders those that flip equally many.
    formula="A(x') = Σ_c p_c(f_lin(x')) #{x : argmax f_lin⁺_c(x) ≠ argmax f_ref(x)} + 1e-6 EMOC/max EMOC",
    description="as mlmoc-flips, averaged over what the label may be",
    source="ours; its parts Freytag, Rodner & Denzler 2014",
    score=_score,
    ranking_target="flips",
    takes=frozenset({"reference", "distance"}),
    averages=True,
    finishing=flipped_by_finishing,
)
