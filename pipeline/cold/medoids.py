"""The samples nearest to the centers of k-means, in an order of which every beginning is spread over all."""

import numpy as np

from pipeline.queries.clusters import k_means
from pipeline.queries.distances import squared_distances


def k_means_medoids(points: np.ndarray, n: int, known: int, rng: np.random.Generator) -> np.ndarray:
    """Choose the point nearest to each of the centers of clusters that hold no known point; no point twice.

    There are known + n clusters.  The order is greedy: again and again the medoid that takes most off
    Σ_x min_s ‖x - s‖, over the known points and the medoids before it.  Where clusters are empty or hold known points
    together, there are fewer medoids than n left over, and the points farthest from all that is chosen follow.

    Source: MacQueen 1967; the order is the first phase of k-medoids, Kaufman & Rousseeuw 1990.

    Args:
        points: ``[N, d]``.
        n: how many to choose, at most N - known.
        known: so many points at the beginning have a label already.
        rng: of the clustering.

    Returns:
        Positions ``[n]``, best first, none twice.

    """
    points = points.astype(np.float64)
    found = k_means(points, known + n, rng)
    distances = _distances(points, found.centers)  # [N, k]
    taken = set(found.of[:known].tolist())
    medoids = list[int]()
    for cluster in range(known + n):
        members = np.flatnonzero(found.of == cluster)
        if len(members) and cluster not in taken:
            medoids.append(int(members[distances[members, cluster].argmin()]))
    chosen = _in_order(points, np.array(medoids[:n], np.int64), known)
    return np.concatenate([chosen, _farthest(points, [*range(known), *chosen], n - len(chosen))])


def _in_order(points: np.ndarray, medoids: np.ndarray, known: int) -> np.ndarray:
    """Order medoids so that each takes most off the sum of distances to those before it."""
    if not len(medoids):
        return medoids
    to = _distances(points, points[medoids])  # [N, m]
    nearest = _distances(points, points[:known]).min(axis=1) if known else np.full(len(points), to.max() + 1)
    order, left = list[int](), np.ones(len(medoids), bool)
    while left.any():
        gains = np.where(left, np.maximum(nearest[:, None] - to, 0).sum(axis=0), -1)
        order.append(int(gains.argmax()))
        left[order[-1]] = False
        nearest = np.minimum(nearest, to[:, order[-1]])
    return medoids[order]


def _farthest(points: np.ndarray, chosen: list[int], n: int) -> np.ndarray:
    """Return n more points, each the farthest from all before it."""
    found = list[int]()
    nearest = np.full(len(points), np.inf)
    if n:
        nearest = _distances(points, points[chosen]).min(axis=1) if chosen else nearest
        nearest[chosen] = -1
    for _ in range(n):
        found.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, _distances(points, points[found[-1:]])[:, 0])
        nearest[found] = -1
    return np.array(found, np.int64)


def _distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distances of all points to a few ``[N, m]``."""
    norms, theirs = np.einsum("nd,nd->n", points, points), np.einsum("md,md->m", others, others)
    return np.sqrt(squared_distances(norms[:, None], points @ others.T, theirs[None]))
