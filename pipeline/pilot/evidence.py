r"""A strategy beside ``random``: the gain at equal labels, and the labels saved at equal accuracy.

Seeds and test images are both samples: another seed gives other networks, other test images another accuracy of the
same networks.  With the mean gain D[s, m] of seed s on test image m, crossed random effects give (Obuchowski &
Rockette 1995, for readers and cases)

    Var(D̄) = σ²_rows / S + σ²_images / M,    σ²_images = max(0, s²_columns − s²_residual / S),

with the variance σ²_rows of the seeds' means, which holds the residual already, s²_columns of the images' means and
s²_residual of what is left.  The degrees of freedom are Hillis's (2007), (S − 1) (Var / (σ²_rows / S))².
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.report.statistics import CONFIDENCE, TIE_DIGITS, labels_to_reach

REPLICATES = 1000
SEED = 0


class Interval(NamedTuple):
    """An estimate with its 95 % interval.

    Args:
        mean: the estimate.
        half: half of the interval's width.

    """

    mean: float
    half: float

    @property
    def low(self) -> float:
        """Its lower end."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Its upper end."""
        return self.mean + self.half


def area_weights(labels: Sequence[float]) -> NDArray[np.float64]:
    """Return the weights by which a curve's points make its area: the trapezoidal rule over the range of labels.

    Args:
        labels: rising ``[K]``.

    Returns:
        ``[K]``, summing to 1.

    """
    steps = np.diff(np.asarray(labels, np.float64))  # [K - 1]
    halves = np.zeros(len(labels))
    halves[:-1] += steps / 2
    halves[1:] += steps / 2
    return halves / steps.sum()


def gain_interval(gains: NDArray[np.float64], by_image: NDArray[np.float64], images: int) -> Interval:
    """Return the mean gain with an interval over seeds and test images, as the module says.

    Source: Obuchowski & Rockette 1995; Hillis 2007 for the degrees of freedom.

    Args:
        gains: of each seed, on all test images ``[S]``.
        by_image: of each seed on each of some test images ``[S, m]``.
        images: M, all test images.

    """
    from scipy import stats

    S, m = by_image.shape
    rows = float(gains.var(ddof=1)) / S
    centred = by_image - by_image.mean(axis=1, keepdims=True)
    columns = centred.mean(axis=0)  # [m]
    residual = float(((centred - columns) ** 2).sum()) / ((S - 1) * (m - 1))
    of_images = max(0.0, float(columns.var(ddof=1)) - residual / S) / images
    variance = rows + of_images
    if variance == 0:
        return Interval(float(gains.mean()), 0.0)
    freedom = math.inf if rows == 0 else (S - 1) * (variance / rows) ** 2
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom)) * math.sqrt(variance)
    return Interval(float(gains.mean()), half)


def monotone(accuracies: Sequence[float]) -> NDArray[np.float64]:
    """Return the nearest curve, in least squares, that never falls (pool adjacent violators).

    Source: Ayer et al. 1955.

    Args:
        accuracies: by number of labels ``[K]``.

    """
    from scipy.optimize import isotonic_regression

    smooth = isotonic_regression(np.asarray(accuracies, np.float64)).x
    return np.asarray(np.round(smooth, TIE_DIGITS))  # what is equal but for rounding is reached at once


def labels_saved(labels: Sequence[float], strategy: Sequence[float], baseline: Sequence[float]) -> float:
    """Return how many labels fewer a strategy takes than a baseline for the highest accuracy that both reach.

    That accuracy is the lower one of the two at the end, so that exchanging the two curves exchanges the sign: where
    there is no difference, nothing is saved on average.

    Args:
        labels: rising ``[K]``.
        strategy: accuracy by labels ``[K]``; made monotone, and linear in between.
        baseline: likewise.

    Returns:
        Labels; negative where the baseline takes fewer.

    """
    mine, theirs = monotone(strategy), monotone(baseline)
    target = float(min(mine[-1], theirs[-1]))
    takes, other = (labels_to_reach(labels, list(curve), target) for curve in (mine, theirs))
    if takes is None or other is None:
        raise ValueError("expected curves that both reach the lower one of their ends")  # which they do
    return other - takes


def saved_interval(
    labels: Sequence[float], strategy: NDArray[np.float64], baseline: NDArray[np.float64], saved: Sequence[float]
) -> Interval:
    """Return the mean labels saved with an interval over seeds and test images.

    The standard error is that of a bootstrap that draws seeds and images anew, both with replacement, which errs on the
    side of caution; the half-width is t(0.975, S − 1) √(S / (S − 1)) times that, for few seeds.  Source: Owen 2007.

    Args:
        labels: rising ``[K]``.
        strategy: whether each of some test images was right, by seed and number of labels ``[S, K, m]``.
        baseline: likewise, at the same seeds.
        saved: the estimate at each seed, from all test images ``[S]``.

    """
    from scipy import stats

    S, _, m = strategy.shape
    rng = np.random.default_rng(SEED)
    means = []
    for _ in range(REPLICATES):
        counts = np.bincount(rng.integers(m, size=m), minlength=m) / m
        seeds = rng.integers(S, size=S)
        mine, theirs = strategy @ counts, baseline @ counts  # [S, K]
        each = [labels_saved(labels, list(mine[s]), list(theirs[s])) for s in np.unique(seeds)]
        means.append(float(np.repeat(each, np.unique(seeds, return_counts=True)[1]).mean()))
    wide = float(stats.t.ppf(0.5 + CONFIDENCE / 2, S - 1)) * math.sqrt(S / (S - 1))
    return Interval(float(np.mean(saved)), wide * float(np.std(means)))


def labels_needed(labels: Sequence[float], curve: Sequence[float], target: float) -> float:
    """Return the labels at which a monotone curve reaches an accuracy; infinite where it does not within them.

    Args:
        labels: rising ``[K]``.
        curve: accuracy by labels ``[K]``.
        target: an accuracy.

    """
    found = labels_to_reach(labels, list(monotone(curve)), target)
    return math.inf if found is None else found
