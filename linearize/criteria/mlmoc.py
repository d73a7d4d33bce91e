"""Most likely model output change: how far all of the pool's outputs move if the likeliest label comes back."""

import jax
import jax.numpy as jnp
import numpy as np

from linearize.criteria.base import Criterion, Request
from linearize.criteria.generic import (
    before,
    distance_from,
    expected_value,
    likeliest,
    moved_by_finishing,
    no_gain_if_redundant,
)
from linearize.criteria.passes import absolute_influence, fast, influence, over_blocks
from linearize.criteria.pool_sum import PoolSum
from linearize.criteria.projected import expected_distance
from linearize.posterior import Block, Posterior
from linearize.types import Array


def output_change(a: Array, q: Array, r: Array) -> Array:
    """Return Σ_x ‖a(x) + q(x',x) r(x')‖₂ for some candidates, ``[B]``, with no array ``[B, U, C]``.

    ‖a + q r‖² = ‖a‖² + 2 q a·r + q² ‖r‖².  Source: Mohamadi, Bae & Sutherland 2022, eq. 13.

    Args:
        a: what finishing training would add ``[U, C]``.
        q: influence ``[B, U]``.
        r: residuals of the imagined labels ``[B, C]``.

    """
    squared = (a**2).sum(1)[None] + q * (2 * (r @ a.T) + q * (r**2).sum(1)[:, None])  # [B, U]
    return jnp.sqrt(jnp.maximum(squared, 0)).sum(1)


@jax.jit
def _pass(a: Array, r: Array, block: Block) -> Array:
    return output_change(a, influence(block, jnp.float64), r[block.candidates])


def _score(posterior: Posterior, request: Request) -> np.ndarray:
    labels, pull = likeliest(posterior), fast(posterior, request.loss)
    scores = expected_distance(posterior, labels, request) if request.distance == "simplex" else None
    if scores is None and pull is not None and request.distance == "outputs":
        r, a = pull.of(labels), posterior.a  # [U, C] both
        if request.reference == "linearized" or not a.any():  # ‖r(x')‖/u(x') · Σ_x |S(x,x')|
            scores = np.linalg.norm(r, axis=1) * absolute_influence(posterior, request.block)
        else:
            with jax.enable_x64(True):
                arrays = jnp.asarray(a), jnp.asarray(r)
            scores = over_blocks(posterior, lambda block: _pass(*arrays, block), request.block)
    if scores is None:
        change = distance_from(before(posterior, request), request)
        scores = expected_value(posterior, labels, change, request.loss)
    return no_gain_if_redundant(posterior, scores)


def _pool_sum(posterior: Posterior, request: Request) -> PoolSum | None:
    pull = fast(posterior, request.loss)
    if pull is None or request.distance != "outputs" or (request.reference == "network" and posterior.a.any()):
        return None
    return change_of(posterior, np.linalg.norm(pull.of(likeliest(posterior)), axis=1))


def change_of(posterior: Posterior, pulls: np.ndarray) -> PoolSum:
    """Return ‖r(x')‖/u(x') Σ_x |S(x,x')|, how far the linearised network's outputs move, as what is summed.

    Args:
        posterior: the linearised network.
        pulls: ‖r‖ of each candidate, or its expectation ``[U]``.

    """
    return PoolSum(np.where(posterior.redundant, 0.0, pulls / posterior.u), np.ones(len(pulls)), 1)


MLMOC = Criterion(
    name="mlmoc",
    formula="A(x') = Σ_x ‖d(f_ref(x)) - d(f_lin⁺(x))‖₂ with y' = argmax f(x')",  # printed with f_ref = f
    description="whose likeliest label would change the pool's outputs most",
    source="Mohamadi, Bae & Sutherland 2022, eq. 13",
    score=_score,
    ranking_target="size",
    takes=frozenset({"reference", "distance"}),
    reference="network",
    finishing=moved_by_finishing,
    pool_sum=_pool_sum,
)
