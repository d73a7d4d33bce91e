"""DropQuery: one candidate for each group of those whose class depends on a few of the features."""

import numpy as np

from pipeline.queries.base import QueryStrategy
from pipeline.queries.clusters import k_means
from pipeline.queries.selection import Selection, check_count, select_in_order
from pipeline.queries.state import QueryState

PASSES = 3
"""M, predictions with dropout."""
DROPPED = 0.75
"""ρ, the share of the features that each pass drops."""


class DropQuery(QueryStrategy):
    """Cluster candidates whose predicted class most dropout passes change; ask for the nearest to each center.

    ŷ_m = argmax (W (h ⊙ b_m)/(1 - ρ) + b),  b_m ~ Bernoulli(1 - ρ),  kept where Σ_m [ŷ_m ≠ ŷ] > M/2

    M = 3 and ρ = 0.75.  What is dropped are inputs of the network's last layer: the paper trains a linear layer on
    frozen features.  k-means has n clusters and, as in the published code, sees features of unit length.  Where fewer
    than n are kept, those follow whose class most passes change (the paper does not say).  Copies of one candidate
    have masks of their own and lie in one cluster: they are asked for together only where that has no other.

    Source: Gupte et al. 2024.
    """

    name = "dropquery"
    description = "one of each group of those whose class changes when features of the last layer are dropped (k-means)"
    source = "Gupte et al. 2024"
    needs_port = False
    needs_features = True

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose ``n`` candidates, one a cluster."""
        check_count(state.candidates, n)
        h = state.features.astype(np.float64)
        kept = most_changed(changed_passes(h, *state.last_layer(), state.rng), n)
        length = np.linalg.norm(h[kept], axis=1, keepdims=True)
        unit = h[kept] / np.where(length > 0, length, 1.0)
        centers = k_means(unit, n, state.rng).centers
        return select_in_order(state.candidates, kept[nearest_to_each(unit, centers)])


def changed_passes(
    h: np.ndarray, W: np.ndarray, b: np.ndarray, rng: np.random.Generator, *, passes: int = PASSES
) -> np.ndarray:
    """Count the dropout passes that change each sample's class, ``[U]``.

    Args:
        h: inputs of the last layer ``[U, d]``.
        W: its weights ``[C, d]``.
        b: its biases ``[C]``.
        rng: draws the masks.
        passes: M.

    """
    clean = (h @ W.T + b).argmax(axis=1)
    changed = np.zeros(len(h), int)
    for _ in range(passes):
        stays = rng.random(h.shape) >= DROPPED
        changed += ((h * stays / (1 - DROPPED)) @ W.T + b).argmax(axis=1) != clean
    return changed


def most_changed(changed: np.ndarray, n: int, *, passes: int = PASSES) -> np.ndarray:
    """Return the samples whose class most passes change, at least n, those of most changes first where there are fewer.

    Args:
        changed: passes that change it ``[U]``.
        n: how many at least, no more than U.
        passes: M.

    Returns:
        Positions in rising order.

    """
    most = max(n, int((2 * changed > passes).sum()))
    return np.sort(np.argsort(-changed, kind="stable")[:most])


def nearest_to_each(points: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Return the point nearest to each center that is no earlier center's; of equals the first.

    Args:
        points: ``[N, d]``.
        centers: ``[n, d]``, at most N.

    Returns:
        Positions ``[n]``, none twice.

    """
    left = np.ones(len(points), bool)
    order: list[int] = []
    for center in centers:
        squared = ((points - center) ** 2).sum(axis=1)
        order.append(int(np.where(left, squared, np.inf).argmin()))
        left[order[-1]] = False
    return np.array(order)
