"""Scores that are a sum over the pool, from a sample of it: linear in the pool, and exact where it counts."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from linearize.posterior.sampled import Sampled

PORTION = 256
"""Candidates whose rows are computed at once, the best by the estimate: of one, a pass costs nearly as much."""

SQUARED_FLOAT32 = 1e-12, 1e12
"""Variances whose squares, and those a thousand times smaller, float32 can hold."""
ERRORS = 2.0
"""Standard errors within which a score is not decided."""


class PoolSum(NamedTuple):
    """A(x') = c(x') Σ_x w(x) |S(x,x')|^p.

    Args:
        factor: c ``[U]``.
        weights: w ``[U]``.
        power: p.

    """

    factor: np.ndarray
    weights: np.ndarray
    power: int


class Estimate(NamedTuple):
    """Scores of a pool of which some are exact.

    Args:
        scores: ``[U]``.
        error: standard error of each; 0 where exact ``[U]``.
        exact: ``[U]``.

    """

    scores: Float[np.ndarray, " U"]
    error: Float[np.ndarray, " U"]
    exact: Bool[np.ndarray, " U"]

    @property
    def least(self) -> Float[np.ndarray, " U"]:
        """What each candidate has at least: its score where that is exact ``[U]``."""
        return np.where(self.exact, self.scores, np.maximum(self.scores - ERRORS * self.error, 0))

    def undecided(self, best: int) -> int:
        """Return how many candidates may be among the highest and were not looked at.

        Args:
            best: how many the highest are.

        """
        last = np.sort(self.scores[self.exact])[-best:].min(initial=np.inf)
        return int((~self.exact & (self.scores + ERRORS * self.error >= last)).sum())


def estimate(posterior: Sampled, of: PoolSum) -> Estimate:
    """Estimate the scores of all candidates, exactly for those whose rows are held, the references among them.

    With v draws x of the others by p(x), of which none is x' itself,

        Σ_x w(x) |S(x,x')|^p ≈ w(x') S(x',x')^p + (1 - p(x'))/v Σ_draws w(x) |S(x,x')|^p / p(x)

    Source: importance sampling, Hansen & Hurwitz 1943; the candidate's own term, by far the largest, is known.

    Args:
        posterior: with its references.
        of: what is summed.

    """
    references = posterior.references
    posterior.hold(references.at)
    at, S = posterior.held
    dtype = S.dtype if moderate(posterior.variance) else np.dtype(np.float64)
    powers = np.square(S, dtype=dtype) if of.power == 2 else np.abs(S).astype(dtype, copy=False)  # [r, U]
    drawn = powers[posterior.held.of(references.at)[0]]
    share = of.weights[references.at] / references.p[references.at]
    mean = ((references.times * share).astype(dtype) @ drawn).astype(np.float64) / references.draws
    squares = (references.times * share**2) @ np.square(drawn, dtype=np.float64)
    spread = np.sqrt(np.maximum(squares / references.draws - mean**2, 0) / max(references.draws - 1, 1))
    known, others = of.weights * np.maximum(posterior.variance, 0) ** of.power, 1 - references.p
    scores, error, exact = of.factor * (known + others * mean), of.factor * others * spread, np.zeros(len(mean), bool)
    scores[at], error[at], exact[at] = of.factor[at] * (powers @ of.weights.astype(dtype)), 0, True
    return Estimate(scores, error, exact)


def moderate(variance: Float[np.ndarray, " U"]) -> bool:
    """Tell whether entries of S may be squared in float32.

    Args:
        variance: S(x,x) ``[U]``.

    """
    least, largest = SQUARED_FLOAT32
    return least < float(variance.max()) < largest


def refined(posterior: Sampled, of: PoolSum, best: int) -> Estimate:
    """Estimate scores, and compute exactly those of the candidates that come first.

    Those that come first by the estimate are looked at once, ``shortlist`` of them.  From then on a candidate that was
    not is ranked by what it has at least, ``ERRORS`` standard errors below the estimate, for of many estimates the
    highest is mostly too high; where it comes first even so, it is looked at too.

    Args:
        posterior: with its references; it holds more rows afterwards.
        of: what is summed.
        best: how many of the highest scores have to be exact.

    """
    found, left = estimate(posterior, of), ~posterior.answered
    listed = max(shortlist(len(left)), best)
    if len(posterior.held.at) < len(posterior.references.at) + listed:
        posterior.hold(_highest(found.scores, left, listed))
        found = estimate(posterior, of)
    while not found.exact[first := _highest(found.least, left, best)].all():
        posterior.hold(_highest(found.least, left & ~found.exact, max(PORTION, len(first))))
        found = estimate(posterior, of)
    return found


def shortlist(U: int) -> int:
    """Return how many candidates are looked at exactly: a twentieth of the pool, but 256 at least and 1,000 at most.

    Args:
        U: candidates.

    """
    return max(PORTION, min(U // 20, 1000))


def _highest(scores: np.ndarray, among: np.ndarray, n: int) -> np.ndarray:
    """Positions of the n highest scores of some candidates, or of all of these where there are fewer."""
    return np.argsort(np.where(among, -scores, np.inf), kind="stable")[: min(n, int(among.sum()))]
