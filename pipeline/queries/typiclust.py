"""TypiClust: the most typical sample of each large group that has the fewest labels."""

from collections.abc import Iterator

import numpy as np

from pipeline.queries.base import QueryStrategy
from pipeline.queries.clusters import k_means
from pipeline.queries.distances import rounded, squared_distances
from pipeline.queries.selection import Selection, check_count, select_in_order
from pipeline.queries.state import QueryState

MOST_CLUSTERS = 500
SMALLEST = 5
"""Clusters of so many samples or fewer count as outliers."""
NEIGHBOURS = 20
BLOCK = 1024  # samples whose distances are held at once


class TypiClust(QueryStrategy):
    """Ask for the most typical sample of each cluster that has the fewest labels, of large clusters first.

    typicality(x) = (1/K Σ_{x' among the K nearest of its cluster} ‖h - h'‖)⁻¹,  K = min(20, half of the cluster)

    There are min(L + n, 500) clusters.  Those of at most 5 samples are left out unless nothing else is left; the others
    are taken in turn in the order of (labels, -size), each again when all had their turn.  Neighbours are those that
    are neither labelled nor chosen.  The distance is the paper's; the published code averages faiss' squared ones, and
    takes k-means on mini-batches above 50 clusters.  The paper clusters self-supervised features, here they are those
    that the trained network's last layer sees.

    Source: Hacohen, Dekel & Weinshall 2022.
    """

    name = "typiclust"
    description = "most typical of the largest groups of features that have the fewest labels (k-means)"
    source = "Hacohen, Dekel & Weinshall 2022"
    needs_port = False
    needs_features = True

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose ``n`` candidates, of each cluster in turn."""
        check_count(state.candidates, n)
        L = len(state.labelled.ids)
        points = np.concatenate([state.labelled_features, state.features]).astype(np.float64)
        clusters = k_means(points, min(L + n, MOST_CLUSTERS), state.rng).of
        return select_in_order(state.candidates, most_typical(points[L:], clusters[L:], clusters[:L], n))


def most_typical(points: np.ndarray, clusters: np.ndarray, labelled: np.ndarray, n: int) -> np.ndarray:
    """Choose the most typical point of each cluster in turn; of equals the first.

    Args:
        points: candidates ``[U, d]``.
        clusters: theirs ``[U]``.
        labelled: clusters of the labelled samples ``[L]``.
        n: how many, at most U.

    Returns:
        Positions ``[n]`` in the order chosen, none twice.

    """
    left = np.ones(len(points), bool)
    order: list[int] = []
    turns = _turns(clusters, labelled, left)
    while len(order) < n:
        members = np.flatnonzero(left & (clusters == next(turns)))
        k = min(NEIGHBOURS, len(members) // 2)
        order.append(int(members[mean_distances(points[members], k).argmin()]))
        left[order[-1]] = False
    return np.array(order)


def mean_distances(points: np.ndarray, k: int) -> np.ndarray:
    """Return the mean distance of each point to its k nearest others, one over its typicality, ``[N]``.

    Args:
        points: ``[N, d]``.
        k: how many, less than N; of none the mean is 0.

    """
    if k == 0:
        return np.zeros(len(points))
    centred = points - points.mean(axis=0)  # distances do not depend on it, their rounding does
    norms = np.einsum("nd,nd->n", centred, centred)
    means = np.empty(len(points))
    for start in range(0, len(points), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(points)))
        squared = squared_distances(norms[rows, None], centred[rows] @ centred.T, norms[None])
        squared[np.arange(len(rows)), rows] = np.inf  # a point is no neighbour of its own
        means[rows] = np.sqrt(np.partition(squared, k - 1, axis=1)[:, :k]).mean(axis=1)
    return rounded(means)


def _turns(clusters: np.ndarray, labelled: np.ndarray, left: np.ndarray) -> Iterator[int]:
    """Yield the cluster whose turn it is, of those that have samples ``left``; small ones when no other has."""
    known, unknown = (np.bincount(of, minlength=MOST_CLUSTERS) for of in (labelled, clusters))
    size = known + unknown
    order = np.lexsort((-size, known))
    for group in (order[size[order] > SMALLEST], order[size[order] <= SMALLEST]):
        while True:
            remaining = np.bincount(clusters[left], minlength=len(size))
            if not remaining[group].any():
                break
            for cluster in group:
                if (left & (clusters == cluster)).any():
                    yield int(cluster)
