"""CoreSet: cover the candidates, in the network's features, by balls around what is labelled."""

import numpy as np

from pipeline.queries.base import QueryStrategy
from pipeline.queries.distances import squared_distances
from pipeline.queries.selection import Selection, check_count, select_top
from pipeline.queries.state import QueryState

BLOCK = 256  # centers whose distances are held at once


class CoreSet(QueryStrategy):
    """Greedy k-center in the penultimate features: again and again the candidate that is farthest from its center.

    s_k = argmax_i min_{j in labelled ∪ {s_1, .., s_(k-1)}} ‖h_i - h_j‖

    Its scores are those distances: a chosen candidate's when it was chosen, every other's at the end. They rank the
    candidates in the order of choice, because distances to the nearest center only fall, and argmax takes the first of
    equals as ``select_top`` does.

    Source: Sener & Savarese 2018, algorithm 1 (the greedy one, without the robust mixed-integer refinement).
    """

    name = "coreset"
    description = "farthest in the network's features from all that is labelled or chosen (k-center greedy)"
    source = "Sener & Savarese 2018"
    needs_port = False
    needs_features = True

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose ``n`` candidates one after another, each a center for those after it."""
        check_count(state.candidates, n)
        distances = k_center_greedy(state.features, state.labelled_features, n)
        return select_top(state.candidates, distances, n)


def k_center_greedy(points: np.ndarray, centers: np.ndarray, n: int) -> np.ndarray:
    """Choose n points, each the farthest from its nearest center, and make it a center.

    Memory is that of the points and ``BLOCK`` columns; no distance between all pairs is ever held.

    Args:
        points: ``[U, d]``.
        centers: those there are at the start ``[L, d]``, at least one.
        n: how many, at most U.

    Returns:
        Distances to the nearest center, float64 ``[U]``: a chosen point's when it was chosen, the others' at the end.

    """
    origin = points.mean(axis=0, dtype=np.float64)  # distances do not depend on it, their rounding does
    points, centers = points - origin, centers - origin
    norms = np.einsum("ud,ud->u", points, points)  # [U]
    nearest = np.full(len(points), np.inf)
    for start in range(0, len(centers), BLOCK):
        block = centers[start : start + BLOCK]
        squared = squared_distances(norms[:, None], points @ block.T, np.einsum("ld,ld->l", block, block)[None])
        nearest = np.minimum(nearest, np.sqrt(squared.min(axis=1)))
    chosen = np.zeros(len(points), dtype=bool)
    for _ in range(n):
        i = int(np.argmax(np.where(chosen, -1.0, nearest)))
        chosen[i] = True
        squared = squared_distances(norms, points @ points[i], norms[i])
        nearest = np.where(chosen, nearest, np.minimum(nearest, np.sqrt(squared)))
    return nearest
