"""Scores that are a sum over the pool, from a sample of it: linear in the pool, and exact where it counts."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from linearize.posterior.sampled import Sampled

PORTION = 256
"""Candidates whose rows are computed at once, the best by the estimate: of one, a pass costs nearly as much."""

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
    """Estimate the scores of all candidates, exactly for those whose rows are held.

    With v draws of x by p(x), of which n(x') are x' itself,

        Σ_x w(x) |S(x,x')|^p ≈ w(x') |S(x',x')|^p + (1 - p(x'))/(v - n(x')) Σ_{draws x ≠ x'} w(x) |S(x,x')|^p / p(x)

    Source: importance sampling, Hansen & Hurwitz 1943; the candidate's own term, by far the largest, is known.

    Args:
        posterior: with its references.
        of: what is summed.

    """
    references, U = posterior.references, len(posterior.f)
    posterior.hold(references.at)
    at, S = posterior.held
    count, p, w = references.times.astype(np.float64), references.p, of.weights
    of_references = S[posterior.held.of(references.at)[0]].astype(np.float64)  # [r, U]
    terms = np.abs(of_references) ** of.power * (w[references.at] / p[references.at])[:, None]
    terms[np.arange(len(references.at)), references.at] = 0  # each is known of itself
    own = np.zeros(U)
    own[references.at] = count
    left = references.draws - own  # draws of others, [U]
    mean = (count @ terms) / np.maximum(left, 1)
    squares = (count @ terms**2) / np.maximum(left, 1)
    spread = np.sqrt(np.maximum(squares - mean**2, 0) / np.maximum(left - 1, 1))
    known = w * np.maximum(posterior.variance, 0) ** of.power
    scores, error = of.factor * (known + (1 - p) * mean), of.factor * (1 - p) * spread
    exact = np.zeros(U, bool)
    exact[at] = True
    scores[at] = of.factor[at] * (np.abs(S.astype(np.float64)) ** of.power @ w)
    error[at] = 0
    return Estimate(scores, error, exact)


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
