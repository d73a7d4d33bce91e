"""How well predicted and actual values agree over a sample, with intervals from resampling the candidates."""

from typing import NamedTuple

import numpy as np

RESAMPLES, LOW, HIGH = 2000, 2.5, 97.5


class Interval(NamedTuple):
    """A figure with its percentile bootstrap interval (95 %); None where the sample does not define it."""

    value: float | None
    low: float | None
    high: float | None


class Agreement(NamedTuple):
    """Predicted against actual, over n candidates.

    Args:
        n: candidates.
        spearman: rank correlation.
        top: share of the actual best third that is in the predicted best third; chance is about a third.
        cosine: mean cosine between the predicted and the actual change vector.
        slope: of actual on predicted through 0, Σ p t / Σ p²; 1 where the size is predicted too.

    """

    n: int
    spearman: Interval
    top: Interval
    cosine: Interval
    slope: Interval


def compare(
    predicted: np.ndarray,
    actual: np.ndarray,
    cosines: np.ndarray,
    rng: np.random.Generator,
    ties: tuple[np.ndarray, np.ndarray] | None = None,
) -> Agreement:
    """Compare two scores of the same candidates.

    The candidates are resampled with replacement 2000 times; resamples in which a figure is not defined are left out.

    Args:
        predicted: scores ``[n]``.
        actual: scores ``[n]``.
        cosines: of the change vectors ``[n]``; NaN where one of them is 0.
        rng: of the resampling.
        ties: values in [0, 1) that order equal scores when the best third is taken, for each of the two.

    """
    n = len(predicted)
    rows = np.vstack([np.arange(n), rng.integers(0, n, (RESAMPLES, n))])  # [1 + B, n]; the first is the sample itself
    p, t = predicted[rows].astype(float), actual[rows].astype(float)
    broken = [predicted, actual] if ties is None else [predicted + ties[0], actual + ties[1]]
    third = -(-n // 3)
    best = [_best(score[rows], third) for score in broken]
    level = np.any([np.ptp(score[rows], axis=1) == 0 for score in broken], axis=0)  # no candidate is better
    with np.errstate(invalid="ignore", divide="ignore"):
        known = np.where(np.isnan(cosines), 0, cosines)[rows].sum(1) / (~np.isnan(cosines))[rows].sum(1)
        slope = (p * t).sum(1) / (p * p).sum(1)
    return Agreement(
        n,
        _interval(_spearman(p, t)),
        _interval(np.where(level, np.nan, (best[0] & best[1]).sum(1) / third)),
        _interval(known),
        _interval(slope),
    )


def mean_of(values: np.ndarray, rng: np.random.Generator) -> Interval:
    """Return the mean of one value a candidate ``[n]``, those that are NaN left out, resampled as in ``compare``.

    Args:
        values: one a candidate ``[n]``.
        rng: of the resampling.

    """
    n = len(values)
    drawn = values[np.vstack([np.arange(n), rng.integers(0, n, (RESAMPLES, n))])]
    with np.errstate(invalid="ignore", divide="ignore"):
        return _interval(np.where(np.isnan(drawn), 0, drawn).sum(1) / (~np.isnan(drawn)).sum(1))


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Return the cosine of two vectors; NaN where one of them is 0.

    Args:
        one: a vector.
        other: another of its length.

    """
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / norms if norms else float("nan")


def _spearman(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Pearson's correlation of the ranks, row by row, ``[B]``; equal values share their mean rank."""
    from scipy.stats import rankdata

    a, b = (ranks - ranks.mean(1, keepdims=True) for ranks in (rankdata(p, axis=1), rankdata(t, axis=1)))
    with np.errstate(invalid="ignore"):
        return np.asarray((a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1)))


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    """Mark the k highest of every row."""
    marked = np.zeros(scores.shape, bool)
    np.put_along_axis(marked, np.argsort(-scores, axis=1, kind="stable")[:, :k], True, axis=1)
    return marked


def _interval(values: np.ndarray) -> Interval:
    if not np.isfinite(values[0]):
        return Interval(None, None, None)
    resampled = values[1:][np.isfinite(values[1:])]
    low, high = np.percentile(resampled, [LOW, HIGH]) if len(resampled) else (values[0], values[0])
    return Interval(float(values[0]), float(low), float(high))
