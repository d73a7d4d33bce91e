"""Criteria by their definitions, from the predicted outputs themselves: what the full kernel is scored by.

With it a label moves f_lin by more than a multiple of its residual, and no formula of [B, U] passes holds.  Every label
that is likely is imagined, f_lin⁺ formed for a block of candidates, and a criterion is what is summed up of that.  With
a scalar kernel the definitions are the same and the formulas of each criterion's own file are the fast path.
"""

from collections.abc import Callable

import numpy as np

from linearize.criteria.base import Distance, Labels
from linearize.per_logit import PerLogit
from linearize.probabilities import Probabilities, class_probabilities
from linearize.residuals import targets
from linearize.types import Float64

BLOCK_BYTES = 2**25
"""Predicted outputs that are held at once."""

Value = Callable[[Float64], Float64]
"""Maps predicted outputs ``[B, U, C]`` to what they are worth, ``[B]``."""


def expected_value(state: PerLogit, p: Float64, value: Value, probabilities: Probabilities) -> Float64:
    """Return Σ_c p_c(x') value(f_lin⁺_c) of every candidate, ``[U]``, f_lin⁺_c having seen x' with label c.

    f_lin⁺_c(x) = f_lin(x) + S(x,x') G(x') r(x', c).  Source: look-ahead paper, eq. 12, in C×C blocks.

    Args:
        state: the regression with the full kernel.
        p: the weights of the labels ``[U, C]``; those of weight 0 cost nothing.
        value: what is averaged.
        probabilities: what outputs mean, and so what labels ask of them.

    """
    f_lin, labels = state.f_lin, Labels.of(p)
    U, C = f_lin.shape
    B, total = max(BLOCK_BYTES // (8 * U * C), 1), np.zeros(U)
    for start in range(0, U, B):
        candidates = np.arange(start, min(start + B, U))
        S, G = state.covariance(candidates), state.gain(candidates)  # [B, C, U C], [B, C, C]
        for k in range(int(labels.likely[candidates].max())):
            f, y = f_lin[candidates], np.eye(C)[labels.classes[candidates, k]]  # [B, C]
            r = targets(f, y, probabilities) - f
            moved = (r[:, None] @ G @ S).reshape(-1, U, C)  # G is symmetric
            total[candidates] += labels.p[candidates, k] * value(moved + f_lin[None])
    return total


def distance_from(before: Float64, distance: Distance, probabilities: Probabilities) -> Value:
    """Σ_x ‖d(before(x)) - d(f_lin⁺(x))‖₂, d the identity or, with the distance ``simplex``, the probabilities."""
    if distance == "outputs":
        return lambda after: np.linalg.norm(after - before[None], axis=2).sum(1)
    then = class_probabilities(before, probabilities)
    return lambda after: np.linalg.norm(_probabilities(after, probabilities) - then[None], axis=2).sum(1)


def flips_from(before: Float64) -> Value:
    """#{x : argmax f_lin⁺(x) ≠ argmax before(x)}."""
    decided = before.argmax(1)
    return lambda after: (after.argmax(2) != decided[None]).sum(1)


def negative_entropy(probabilities: Probabilities) -> Value:
    """-Σ_x H(p(f_lin⁺(x))), in nats."""

    def value(after: Float64) -> Float64:
        p = _probabilities(after, probabilities)
        return np.asarray((p * np.log(np.where(p > 0, p, 1.0))).sum((1, 2)))

    return value


def sureness_from(before: Float64, probabilities: Probabilities) -> Value:
    """Σ_x max_k p_k(f_lin⁺(x)) - Σ_x max_k p_k(before(x))."""
    then = class_probabilities(before, probabilities).max(1).sum()
    return lambda after: _probabilities(after, probabilities).max(2).sum(1) - then


def variance_taken(state: PerLogit, weights: Float64) -> Float64:
    """Return Σ_x w(x) tr(S(x,x') G(x') S(x',x)) / C of every candidate, ``[U]``, for weights ``[U]``."""
    U, C = len(weights), state.classes
    B, taken = max(BLOCK_BYTES // (8 * U * C * C), 1), np.zeros(U)
    for start in range(0, U, B):
        candidates = np.arange(start, min(start + B, U))
        S = state.covariance(candidates)  # [B, C, U C]
        of_rows = (S * (state.gain(candidates) @ S)).sum(1).reshape(-1, U, C)
        taken[candidates] = of_rows.mean(2) @ weights
    return taken


def _probabilities(outputs: Float64, probabilities: Probabilities) -> Float64:
    return class_probabilities(outputs.reshape(-1, outputs.shape[-1]), probabilities).reshape(outputs.shape)
