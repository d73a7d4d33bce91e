"""TypiClust without any label, in rounds that double, so that whoever stops early has asked about typical samples."""

import numpy as np

from pipeline.queries.clusters import k_means
from pipeline.queries.typiclust import MOST_CLUSTERS, most_typical

FIRST = 5
"""Samples of the first round."""


def in_rounds(points: np.ndarray, n: int, known: int, rng: np.random.Generator) -> np.ndarray:
    """Choose the most typical point of each cluster that has none, of 5 clusters, then of 10, 20, and so on.

    The published algorithm, called with budgets that double: each round clusters all points anew into as many clusters
    as there will be chosen ones, and takes those without any first, the largest first.  So the first k of n are those
    that a smaller n would have given.

    Source: Hacohen, Dekel & Weinshall 2022.

    Args:
        points: ``[N, d]``.
        n: how many to choose, at most N - known.
        known: so many points at the beginning have a label already, and count as chosen.
        rng: of the clusterings.

    Returns:
        Positions ``[n]``, best first, none twice.

    """
    points = points.astype(np.float64)
    order, wanted = np.arange(known), FIRST
    left = np.arange(known, len(points))
    while len(order) < known + n:
        if wanted > len(order):
            clusters = k_means(points, min(wanted, MOST_CLUSTERS, len(points)), rng).of
            count = min(wanted - len(order), len(left))  # whole rounds, whatever n is
            new = left[most_typical(points[left], clusters[left], clusters[order], count)]
            order, left = np.concatenate([order, new]), np.setdiff1d(left, new)
        wanted *= 2
    return order[known : known + n]
