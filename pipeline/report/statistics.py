"""The statistics of a comparison paired by seed; SciPy does the tests, this module says when they can decide."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

CONFIDENCE, LEVEL, FEWEST_SEEDS = 0.95, 0.05, 6
TIE_DIGITS = 12
"""Differences are rounded to this many decimals before they are ranked: equal ones differ by rounding alone."""


class Band(NamedTuple):
    """A mean with its Student-t band.

    Args:
        mean: of n values.
        half: half the width of the 95 % band, x̄ ± t(0.975, n−1) s/√n; None for fewer than two values.
        n: number of values.

    """

    mean: float
    half: float | None
    n: int

    @property
    def low(self) -> float:
        """The lower end; the mean where there is no band."""
        return self.mean - (self.half or 0.0)

    @property
    def high(self) -> float:
        """The upper end; the mean where there is no band."""
        return self.mean + (self.half or 0.0)


class Signed(NamedTuple):
    """A paired Wilcoxon signed-rank test.

    Args:
        n: pairs.
        zeros: pairs without a difference, which the test leaves out.
        direction: 1 where the positive ranks weigh more, −1 where the negative, else 0.
        p: two-sided.
        exact: whether p is exact; a normal approximation otherwise (many pairs with ties, or more than 50).

    """

    n: int
    zeros: int
    direction: int
    p: float
    exact: bool


class Friedman(NamedTuple):
    """A Friedman test.

    Args:
        statistic: Q, corrected for ties.
        p: of the chi-square approximation with k − 1 degrees of freedom; 1 where all blocks are ties.
        ranks: mean rank of each of the k treatments; rank 1 is the largest value.

    """

    statistic: float
    p: float
    ranks: tuple[float, ...]


def student_t(values: Sequence[float]) -> Band:
    """Return the mean and the half-width of its two-sided 95 % Student-t band.

    Args:
        values: one a seed.

    Raises:
        ValueError: no values.

    """
    from scipy import stats

    if not len(values):
        raise ValueError("expected at least one value, got none")
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    if n < 2:
        return Band(float(x[0]), None, n)
    half = stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1) * x.std(ddof=1) / math.sqrt(n)
    return Band(float(x.mean()), float(half), n)


def wilcoxon(differences: Sequence[float]) -> Signed:
    """Test whether paired differences are symmetric about zero.

    Zero differences are left out (Wilcoxon 1945); equal ones share their mean rank.  Exact for up to 50 pairs without
    ties and up to 13 with ties.

    Args:
        differences: one a pair.

    """
    from scipy import stats

    d = np.round(np.asarray(differences, dtype=np.float64), TIE_DIGITS)
    moved = d[d != 0]
    zeros = len(d) - len(moved)
    if not len(moved):
        return Signed(len(d), zeros, 0, 1.0, exact=True)
    ranks = stats.rankdata(np.abs(moved))
    tied = len(np.unique(np.abs(moved))) < len(moved)
    p = float(stats.wilcoxon(moved, method="auto").pvalue)
    direction = int(np.sign((np.sign(moved) * ranks).sum()))
    return Signed(len(d), zeros, direction, p, exact=len(moved) <= (13 if tied else 50))


def holm(p: Sequence[float]) -> list[float]:
    """Correct p-values for the size of their family (step-down).

    p̃_(i) = max_{j ≤ i} min(1, (m − j + 1) p_(j)).  Source: Holm 1979.

    Args:
        p: ``[m]``.

    Returns:
        Corrected p-values in the same order.

    """
    corrected, largest = [0.0] * len(p), 0.0
    for rank, position in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[position]))
        corrected[position] = largest
    return corrected


def smallest_p(n: int) -> float:
    """Return the smallest two-sided p that an exact signed-rank test of n pairs can give: all signs alike, 2 · 0.5ⁿ."""
    return min(1.0, 2.0 * 0.5**n)


def smallest_corrected(counts: Sequence[int]) -> list[float]:
    """Return the smallest Holm-corrected p that each test of a family can reach, given its number of pairs."""
    return holm([smallest_p(n) for n in counts])


def seeds_needed(tests: int) -> int:
    """Return the fewest seeds with which every one of a family's tests can reach a corrected p below 0.05."""
    n = FEWEST_SEEDS
    while smallest_corrected([n] * tests)[0] >= LEVEL:
        n += 1
    return n


def friedman(table: np.ndarray) -> Friedman:
    """Test whether treatments rank alike over blocks.

    Source: Friedman 1937; Demšar 2006 for its use over data sets.

    Args:
        table: ``[blocks, treatments]``, at least two blocks and three treatments; larger is better.

    """
    from scipy import stats

    rounded = np.round(table, TIE_DIGITS)
    ranks = stats.rankdata(-rounded, axis=1)  # [blocks, treatments]
    means = tuple(float(rank) for rank in ranks.mean(axis=0))
    if (ranks == ranks[0, 0]).all():  # every block is one tie; SciPy would divide by zero
        return Friedman(0.0, 1.0, means)
    statistic, p = stats.friedmanchisquare(*rounded.T)
    return Friedman(float(statistic), float(p), means)


def labels_to_reach(labels: Sequence[float], accuracies: Sequence[float], target: float) -> float | None:
    """Return the fewest labels at which a learning curve, linear between its points, is at a target; None if nowhere.

    Args:
        labels: increasing ``[K]``.
        accuracies: ``[K]``.
        target: the accuracy wanted.

    """
    if accuracies[0] >= target:
        return float(labels[0])
    for k in range(1, len(labels)):
        if accuracies[k] >= target:
            share = (target - accuracies[k - 1]) / (accuracies[k] - accuracies[k - 1])
            return float(labels[k - 1] + share * (labels[k] - labels[k - 1]))
    return None
