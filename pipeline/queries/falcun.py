"""FALCUN: candidates that are unsure, and unlike those chosen before in what the network says of them."""

import numpy as np

from common.probabilities import negative_margin
from pipeline.queries.base import QueryStrategy
from pipeline.queries.selection import Selection, check_count, select_in_order
from pipeline.queries.state import QueryState

GAMMA = 10
"""γ: 0 draws uniformly, ever larger numbers choose the most relevant."""


class Falcun(QueryStrategy):
    """Draw candidates one after another by uncertainty and by distance in class probabilities.

    u(x) = 1 - (p_(1) - p_(2)),  δ(x) = min(u(x), min_{q chosen} ‖p(x) - p(q)‖₁),  P(x) ∝ (u(x) + δ̄(x))^γ,  γ = 10

    δ̄ is δ moved and scaled to [0, 1] over the candidates that are left; 0 where all are alike.  Where no candidate has
    a positive δ, and before any is chosen where none has a positive u, what is left is drawn uniformly.  Copies of one
    that was chosen have δ = 0 and keep their u: they are less likely, not impossible.

    Source: Gilhuber et al. 2024; δ̄ as in the published code.
    """

    name = "falcun"
    description = "drawn by margin and by distance from the chosen in class probabilities"
    source = "Gilhuber et al. 2024"
    needs_port = False

    def query(self, state: QueryState, n: int) -> Selection:
        """Draw ``n`` candidates."""
        check_count(state.candidates, n)
        return select_in_order(state.candidates, draw_relevant(state.probabilities, n, state.rng))


def draw_relevant(p: np.ndarray, n: int, rng: np.random.Generator, *, gamma: float = GAMMA) -> np.ndarray:
    """Draw n samples, each by its relevance in view of those drawn before.

    Args:
        p: class probabilities ``[U, C]``.
        n: how many, at most U.
        rng: the only source of randomness.
        gamma: γ.

    Returns:
        Positions ``[n]`` in the order drawn, none twice.

    """
    u = 1 + negative_margin(p)
    distance, left = u.copy(), np.ones(len(p), bool)
    order: list[int] = []
    while len(order) < n:
        weights = np.zeros(len(p))
        weights[left] = relevance(u[left], distance[left]) ** gamma
        order.append(int(rng.choice(len(p), p=weights / weights.sum())))
        left[order[-1]] = False
        distance = np.minimum(distance, np.abs(p - p[order[-1]]).sum(axis=1))
    return np.array(order)


def relevance(u: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return u + δ̄ of the samples that are left; 1 for all of them where no distance is positive.

    Args:
        u: uncertainties ``[N]``.
        distance: δ ``[N]``.

    """
    if not distance.any():
        return np.ones(len(u))
    least, most = distance.min(), distance.max()
    return np.asarray(u + (distance - least) / (most - least) if most > least else u)
