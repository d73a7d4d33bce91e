"""Expected model output change: how far the pool's outputs move, averaged over the labels that may come back."""

import jax
import jax.numpy as jnp
import numpy as np

from common.losses import PseudoResidual
from linearize.criteria.base import Criterion, Request
from linearize.criteria.generic import (
    before,
    distance_from,
    expected_value,
    moved_by_finishing,
    no_gain_if_redundant,
)
from linearize.criteria.mlmoc import change_of, output_change
from linearize.criteria.passes import Labels, absolute_influence, expectation, fast, influence, over_labels
from linearize.criteria.pool_sum import PoolSum
from linearize.criteria.projected import expected_distance
from linearize.posterior import Block, Posterior
from linearize.types import Array


@jax.jit
def _pass(a: Array, pull: PseudoResidual, labels: Labels, block: Block, most: Array) -> Array:
    q = influence(block, jnp.float64)  # [B, U]
    return expectation(labels, pull, block, most, lambda r: output_change(a, q, r))


def _expected_pull(p: np.ndarray, pull: PseudoResidual) -> np.ndarray:
    """Σ_c p_c(x') ‖r(x', c)‖ ``[U]``, by ‖step onehot(c) - m‖² = ‖m‖² - 2 step m_c + step²."""
    squared = (pull.m**2).sum(1, keepdims=True) - 2 * pull.step * pull.m + pull.step**2  # [U, C]
    return np.asarray((p * np.sqrt(np.maximum(squared, 0))).sum(1))


def _pool_sum(posterior: Posterior, request: Request) -> PoolSum | None:
    pull = fast(posterior, request.loss)
    if pull is None or request.distance != "outputs" or (request.reference == "network" and posterior.a.any()):
        return None
    return change_of(posterior, _expected_pull(request.loss.probabilities.of(posterior.f), pull))


def _score(posterior: Posterior, request: Request) -> np.ndarray:
    p, pull = request.loss.probabilities.of(posterior.f), fast(posterior, request.loss)
    scores = expected_distance(posterior, p, request) if request.distance == "simplex" else None
    if scores is None and pull is not None and request.distance == "outputs":
        a = posterior.a
        if request.reference == "linearized" or not a.any():  # Σ_x |S(x,x')| / u(x') · Σ_c p_c(x') ‖r(x', c)‖
            scores = _expected_pull(p, pull) * absolute_influence(posterior, request.block)
        else:
            labels = Labels.of(p)
            with jax.enable_x64(True):
                left = jnp.asarray(a)
            scores = over_labels(posterior, labels, lambda *block: _pass(left, pull, labels, *block), request.block)
    if scores is None:
        scores = expected_value(posterior, p, distance_from(before(posterior, request), request), request.loss)
    return no_gain_if_redundant(posterior, scores)


EMOC = Criterion(
    name="emoc",
    formula="A(x') = Σ_c p_c(f(x')) Σ_x ‖d(f_ref(x)) - d(f_lin⁺_c(x))‖₂",
    description="whose label, averaged over what it may be, would change the pool's outputs most",
    source="Freytag, Rodner & Denzler 2014; Mohamadi, Bae & Sutherland 2022, eq. 3",
    score=_score,
    ranking_target="size",
    takes=frozenset({"reference", "distance"}),
    reference="network",
    averages=True,
    finishing=moved_by_finishing,
    pool_sum=_pool_sum,
)
