"""Near-copies: samples so near to each other that a label of one leaves nothing to learn of the others."""

from collections.abc import Mapping

import numpy as np

from pipeline import seeds
from pipeline.cold.points import directions, unit_vectors, vectors
from trainer.data import DataSet

SHARE = 0.3
"""Distance up to which samples are near-copies, relative to a typical sample's distance to its nearest other one: what
finds recompressed, scaled and brightened copies and joins no two classes on clean data, see benchmarks/RESULTS.md."""
SAMPLED = 500
"""Samples from which the typical distance is taken."""
MOST_SAMPLES = 20_000
"""Samples, drawn by the seed, among which copies are looked for."""
MOST_PAIRS = 200_000
"""Pairs at which the search ends, as of frames of one still film; what was found until then stands."""
SAME = 1e-3
"""Distance of exact copies, after rounding."""
BLOCK = 512  # rows of distances that are held at once
SLACK = 1.01  # of a projected distance, which is never larger than the whole one but for rounding


def copy_groups(data: DataSet, seed: int) -> dict[int, tuple[int, ...]]:
    """Group training samples that are near-copies; no label is looked at.

    Of samples z seen from their mean, at distance 1 (features, or images of 16×16 pixels), two are near-copies where

        ‖z - z'‖ ≤ 0.3 median_x min_x' ‖x - x'‖

    In the kernel ρ = z·z' = 1 - ‖z - z'‖²/2 of a linear network, a label of one then leaves the other the share
    u(x')/Θ(x',x') = 1 - ρ² ≈ ‖z - z'‖² of its variance.  Groups are joined over chains of such pairs.

    Args:
        data: the data set.
        seed: of the run.

    Returns:
        Each sample that has copies, with its group, itself included, ascending.

    """
    order = seeds.generator(seed, 0, "initial").permutation(len(data.train))[:MOST_SAMPLES]
    if len(order) < 2:
        return {}
    ids = np.sort(order)
    points = vectors(data, ids)
    return {
        int(ids[at]): tuple(ids[list(group)].tolist()) for group in near_groups(points, seed).values() for at in group
    }


def near_groups(points: np.ndarray, seed: int) -> Mapping[int, tuple[int, ...]]:
    """Group points that are near-copies, as ``copy_groups`` says.

    Args:
        points: ``[N, d]``.
        seed: of the approximate decomposition that distances are bounded in.

    Returns:
        Groups of at least two positions, by the first of them.

    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    unit, few = unit_vectors(points), directions(points, seed)
    pairs = _close_pairs(unit, few, max(SAME, SHARE * typical_distance(unit, seed)))
    N = len(points)
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(N, N))
    component = connected_components(graph, directed=False)[1]
    groups = dict[int, list[int]]()
    for at in np.unique(pairs).tolist():
        groups.setdefault(int(component[at]), []).append(at)
    return {group[0]: tuple(group) for group in groups.values()}


def typical_distance(unit: np.ndarray, seed: int) -> float:
    """Return the median distance of a sample to its nearest other one, exact copies left out; 0 where all are such.

    Args:
        unit: points ``[N, d]``.
        seed: of the samples.

    """
    chosen = np.random.default_rng(seed).permutation(len(unit))[:SAMPLED]
    norms = np.einsum("nd,nd->n", unit, unit)
    squared = norms[chosen, None] + norms - 2 * unit[chosen] @ unit.T  # [500, N]
    squared[squared <= SAME**2] = np.inf  # itself, and exact copies
    nearest = np.sqrt(squared.min(axis=1))
    return float(np.median(nearest[np.isfinite(nearest)])) if np.isfinite(nearest).any() else 0.0


def _close_pairs(unit: np.ndarray, few: np.ndarray, radius: float) -> np.ndarray:
    """Return pairs of points up to a distance ``[P, 2]``; few dimensions rule most out before they are measured."""
    norms, found, count = np.einsum("nk,nk->n", few, few), list[np.ndarray](), 0
    for start in range(0, len(few), BLOCK):
        rows = few[start : start + BLOCK]
        squared = norms[start : start + BLOCK, None] + norms[start:] - 2 * rows @ few[start:].T  # [B, N - start]
        i, j = np.nonzero(np.triu(squared <= (SLACK * radius) ** 2 + SAME**2, 1))
        pairs = np.stack([i, j], axis=1) + start
        for part in np.array_split(pairs, len(pairs) // 4096 + 1):
            near = np.linalg.norm(unit[part[:, 0]] - unit[part[:, 1]], axis=1) <= radius
            found.append(part[near])
            count += int(near.sum())
        if count > MOST_PAIRS:
            break
    return np.concatenate(found)
