"""Which samples are asked about before there is any network: representatives of all, or samples drawn at random."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pipeline import seeds
from pipeline.cold.copies import near_groups
from pipeline.cold.medoids import k_means_medoids
from pipeline.cold.points import directions, vectors
from pipeline.cold.typical import in_rounds
from pipeline.config import RunConfig
from trainer.data import DataSet

RANDOM, AUTO = "random", "auto"
METHODS: Mapping[str, Callable[[np.ndarray, int, int, np.random.Generator], np.ndarray]] = {
    "typiclust": in_rounds,
    "k-means": k_means_medoids,
}
"""Each takes points ``[N, d]``, how many to choose, how many points at the beginning are known, and a generator."""
OF_FEATURES = "typiclust"
"""What did best from features: see benchmarks/RESULTS.md."""
OF_IMAGES = "typiclust"
"""And from pixels."""
OF_EXPERIMENTS = RANDOM
"""From pixels where the data's own labels answer, as in every comparison of the literature."""
MOST_CANDIDATES = 4000
"""Samples, drawn by the seed, among which representatives are looked for: at most so many, at most half of all."""
MOST_CHOSEN = 500
"""So many are chosen at most; more initial samples are drawn at random, which are representative themselves by then."""
MOST_KNOWN = 500
"""Samples that have a label already, of which so many are taken into account."""


def method_of(config: RunConfig, data: DataSet) -> str:
    """Return how a run chooses its first samples.

    Args:
        config: of the run.
        data: its data set.

    """
    name = config.query.initial
    if name != AUTO:
        return name or RANDOM  # nothing in runs of older versions, which drew at random
    return OF_FEATURES if data.holds_features else OF_EXPERIMENTS if config.simulated else OF_IMAGES


def chosen_by(method: str) -> dict[str, str]:
    """Return what the event of a question says of how it was chosen; nothing where that was chance.

    Args:
        method: as of ``method_of``.

    """
    return {} if method == RANDOM else {"initial": method}


def first_samples(
    data: DataSet, method: str, seed: int, n: int, given: Sequence[int] = (), left_out: Sequence[int] = ()
) -> np.ndarray:
    """Choose what to ask about first; the same at one seed, whichever strategy goes on from there.

    Args:
        data: the data set; no label is looked at.
        method: as of ``method_of``.
        seed: of the run.
        n: how many are wanted.
        given: the samples that have a label already.
        left_out: samples that are not to be learned from, such as those of a check set.

    Returns:
        Data-set-absolute ids ``[min(n, what is left)]``, best first.

    """
    rng = seeds.generator(seed, 0, "initial")
    if method == RANDOM:
        return _drawn(len(data.train), n, [*given, *left_out], rng)
    order = rng.permutation(len(data.train))
    free = order[~np.isin(order, [*given, *left_out])]
    wanted = min(n, MOST_CHOSEN, len(free))
    among = free[: min(MOST_CANDIDATES, max(len(free) // 2, 10 * wanted))]
    known = np.array(given, np.int64)[:MOST_KNOWN]
    x = vectors(data, np.concatenate([known, among]))
    once = _one_of_copies(x, len(known), seed)
    among, wanted = among[once], min(wanted, len(once))
    points = directions(x[[*range(len(known)), *(len(known) + once)]], seed)
    chosen = among[METHODS[method](points, wanted, len(known), rng) - len(known)]
    more = free[~np.isin(free, chosen)][: n - wanted]
    return np.concatenate([chosen, more])


def _one_of_copies(points: np.ndarray, known: int, seed: int) -> np.ndarray:
    """Return the positions of candidates without those that are near-copies of known samples or of earlier ones.

    They would stand for nothing more, and make each other typical.
    """
    dropped = [at for group in near_groups(points, seed).values() for at in group[1:]]
    return np.setdiff1d(np.arange(len(points))[known:], dropped) - known


def _drawn(size: int, n: int, given: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Samples drawn uniformly beside those that came with a label."""
    if len(given):  # the order drawn is kept
        return np.setdiff1d(rng.permutation(size), given, assume_unique=True)[:n]
    return rng.choice(size, size=n, replace=False)
