"""Criteria by their definitions, from the predicted outputs themselves, for any kernel and any loss.

Every label that is likely is imagined, f_lin⁺ formed for a block of candidates, and a criterion is what is summed up of
that.  Where the kernel is scalar and the loss pulls every output alike, criteria have a faster form in their own files.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Shaped

from common.losses import Loss
from common.probabilities import Probabilities
from linearize.criteria.base import Request
from linearize.criteria.passes import Labels
from linearize.posterior import Posterior

BLOCK_BYTES = 2**25
"""Predicted outputs that are held at once."""

Value = Callable[[np.ndarray], np.ndarray]
"""Maps predicted outputs ``[B, U, C]`` to what they are worth, ``[B]``."""


def expected_value(
    posterior: Posterior, p: Shaped[np.ndarray, "U C"], value: Value, loss: Loss
) -> Float[np.ndarray, " U"]:
    """Return Σ_c p_c(x') value(f_lin⁺_c) of every candidate, f_lin⁺_c having seen x' with label c.

    f_lin⁺_c(x) = f_lin(x) + S(x,x') G(x') r(x', c).  Source: Mohamadi, Bae & Sutherland 2022, eq. 12, in blocks.

    Args:
        posterior: the linearised network.
        p: the weights of the labels ``[U, C]``; those of weight 0 cost nothing.
        value: what is averaged.
        loss: what labels ask of outputs.

    Returns:
        ``[U]``.

    """
    f_lin, labels, k = posterior.mean, Labels.of(p), posterior.outputs
    U, C = f_lin.shape
    B, total = max(BLOCK_BYTES // (8 * U * C), 1), np.zeros(U)
    for start in range(0, U, B):
        at, S, G = posterior.block(slice(start, start + B))
        pull = loss.pseudo_residual(f_lin[at])
        for n in range(int(labels.likely[at].max())):
            r = pull.of(np.eye(C)[labels.classes[at, n]]).reshape(len(at), k, -1)  # [B, k, C/k]
            moved = (S.transpose(0, 2, 1) @ (G @ r)).reshape(-1, U, C)
            total[at] += labels.p[at, n] * value(moved + f_lin[None])
    return total


def before(posterior: Posterior, request: Request) -> Float[np.ndarray, "U C"]:
    """Return f_ref, the outputs that change is measured from ``[U, C]``.

    Args:
        posterior: the linearised network.
        request: its reference.

    """
    return posterior.mean if request.reference == "linearized" else posterior.f


def distance_from(then: Float[np.ndarray, "U C"], request: Request) -> Value:
    """Return Σ_x ‖d(then(x)) - d(f_lin⁺(x))‖₂ as a value, d as the request has it.

    Args:
        then: outputs before ``[U, C]``.
        request: the distance, and what outputs mean.

    """
    if request.distance == "outputs":
        return lambda after: np.linalg.norm(after - then[None], axis=2).sum(1)
    p = request.loss.probabilities.of
    projected = p(then)
    return lambda after: np.linalg.norm(p(after) - projected[None], axis=2).sum(1)


def flips_from(then: Float[np.ndarray, "U C"]) -> Value:
    """Return #{x : argmax f_lin⁺(x) ≠ argmax then(x)} as a value."""
    decided = then.argmax(1)
    return lambda after: (after.argmax(2) != decided[None]).sum(1)


def negative_entropy(probabilities: Probabilities) -> Value:
    """Return -Σ_x H(p(f_lin⁺(x))) as a value, in nats."""

    def value(after: np.ndarray) -> np.ndarray:
        p = probabilities.of(after)
        return np.asarray((p * np.log(np.where(p > 0, p, 1.0))).sum((1, 2)))

    return value


def confidence_above(then: Float[np.ndarray, "U C"], probabilities: Probabilities) -> Value:
    """Return Σ_x max_k p_k(f_lin⁺(x)) - Σ_x max_k p_k(then(x)) as a value.

    Args:
        then: outputs before ``[U, C]``.
        probabilities: what outputs mean.

    """
    sure = probabilities.of(then).max(1).sum()
    return lambda after: probabilities.of(after).max(2).sum(1) - sure


def moved_by_finishing(posterior: Posterior, request: Request) -> float:
    """Return Σ_x ‖d(f(x)) - d(f_lin(x))‖₂, what finishing training alone moves.

    Args:
        posterior: the linearised network.
        request: the distance, and what outputs mean.

    """
    return float(distance_from(posterior.mean, request)(posterior.f[None])[0])


def flipped_by_finishing(posterior: Posterior, request: Request) -> float:
    """Return #{x : argmax f(x) ≠ argmax f_lin(x)}.

    Args:
        posterior: the linearised network.
        request: makes no difference.

    """
    return float(flips_from(posterior.mean)(posterior.f[None])[0])


def likeliest(posterior: Posterior) -> Bool[np.ndarray, "U C"]:
    """Return which label each candidate is imagined to get, argmax_c f_c(x') ``[U, C]``.

    Source: Mohamadi, Bae & Sutherland 2022, algorithm 1.
    """
    return np.asarray(np.arange(posterior.f.shape[1])[None] == posterior.f.argmax(1)[:, None])


def no_gain_if_redundant(posterior: Posterior, scores: Float[np.ndarray, " U"]) -> Float[np.ndarray, " U"]:
    """Give redundant candidates the score 0, whatever the reference: their label would change nothing.

    Args:
        posterior: the linearised network.
        scores: ``[U]``.

    """
    return np.where(posterior.redundant, 0.0, scores)


def below_one(scores: Float[np.ndarray, " U"]) -> Float[np.ndarray, " U"]:
    """Scale non-negative scores into [0, 1), keeping their order: what breaks ties of whole numbers."""
    largest = scores.max(initial=0.0)
    return scores / largest * (1 - 1e-9) if largest > 0 else scores
