"""Learning curves: what the accuracies of one run, and those of many earlier runs, say of the accuracy to come.

A curve is the log odds of being right over the logarithm of the labels of a class, x = log(n/C):

    z(x) = f(x) + ε(x),   f = a + b x + g(x),   ε ~ N(0, s(x)²)

A straight f is a power law of the odds, odds = e^a (n/C)^b; g bends it, and ε is what one training differs from another
at the same number of labels.  a, b and g are Gaussian with a mean and a spread that many stored runs had, and every run
has a scale of its own, so everything that is asked of a curve is regression by Student's t (Rasmussen & Williams 2006,
eq. 2.24; Shah, Wilson & Ghahramani 2014).  What is measured on m images is off by about 1/√(m p (1-p)) in z, and mostly
to the same side at every n, since they are the same images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import expit, logit, stdtrit

LEVEL = 0.95
DRAWS = 4000
"""Curves that are drawn for the band of a gain; their seed is fixed, so the same run gets the same advice."""


FEWEST = 200
"""Of them that must rise for the others to be left out: a run that falls all the time is taken at its word."""


class Point(NamedTuple):
    """An accuracy that was measured.

    Args:
        labels: that the network was trained on.
        right: images that it predicts rightly.
        images: that it was measured on.

    """

    labels: int
    right: int
    images: int


@dataclass(frozen=True)
class Prior:
    """How curves of stored runs vary, with x = log(n/C).

    Args:
        intercept: mean of a: log odds of being right at one label a class.
        intercept_sd: how far it differs from curve to curve.
        slope: mean of b.
        slope_sd: how far it differs.
        bend_sd: how far g strays from the straight line.
        bend_length: over how much of x.
        noise: log of s, what trainings differ by, at x = 0.
        noise_slope: how log s changes with x.
        shared: correlation of what two networks of one run measure wrongly, as both are measured on the same images.
        dof: ν: how alike runs are in how far they stray; every run has a scale of its own, 1/σ² ~ Gamma(ν/2, ν/2).
        widening: by which bands are wider than the model says, from runs of other data than it was fitted on.

    """

    intercept: float
    intercept_sd: float
    slope: float
    slope_sd: float
    bend_sd: float
    bend_length: float
    noise: float
    noise_slope: float
    shared: float
    dof: float = 1e6
    widening: float = 1.0

    def mean(self, x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Return the mean of f ``[n]``."""
        return np.asarray(self.intercept + self.slope * x)

    def covariance(self, x: Float[np.ndarray, " n"], x2: Float[np.ndarray, " m"]) -> Float[np.ndarray, "n m"]:
        """Return the covariance of f between places ``[n, m]``; g is a Matérn process of order 3/2.

        Args:
            x: places ``[n]``.
            x2: others ``[m]``.

        """
        r = np.sqrt(3) * np.abs(x[:, None] - x2[None]) / self.bend_length
        bend = self.bend_sd**2 * (1 + r) * np.exp(-r)
        return np.asarray(self.intercept_sd**2 + self.slope_sd**2 * np.outer(x, x2) + bend)

    def training_variance(self, x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Return s² ``[n]``."""
        return np.exp(2 * (self.noise + self.noise_slope * x))


def measured(points: Sequence[Point], shared: float) -> tuple[np.ndarray, np.ndarray]:
    """Return log odds ``[n]`` and the covariance of their error of measurement ``[n, n]``.

    An image more that is right, and one that is wrong, keep both finite.

    Args:
        points: n of them.
        shared: correlation between two points.

    """
    right, images = (np.array([getattr(point, name) for point in points], float) for name in ("right", "images"))
    p = (right + 1) / (images + 2)
    sd = 1 / np.sqrt(images * p * (1 - p))
    return logit(p), np.outer(sd, sd) * (shared + (1 - shared) * np.eye(len(points)))


class Posterior(NamedTuple):
    """What is known of f at some places: Student's t.

    Args:
        mean: ``[m]``.
        covariance: of its Gaussian, times the run's scale ``[m, m]``.
        training: variance of one training at each ``[m]``, likewise.
        dof: degrees of freedom.

    """

    mean: np.ndarray
    covariance: np.ndarray
    training: np.ndarray
    dof: float

    @property
    def sd(self) -> np.ndarray:
        """How far one training's log odds may be off ``[m]``."""
        return np.sqrt(np.diag(self.covariance) + self.training)


def condition(prior: Prior, points: Sequence[Point], classes: int, labels: Sequence[int]) -> Posterior:
    """Return what a run's points say of f at other numbers of labels.

    With K of n points and r what they differ from the mean, the Gaussian's covariance (Rasmussen & Williams 2006,
    eq. 2.24) is multiplied by (ν + rᵀ K⁻¹ r) / (ν + n), and Student's t with ν + n degrees of freedom takes its place:
    a run that strays less than others has narrower bands.  Source: Shah, Wilson & Ghahramani 2014, lemma 3.

    Args:
        prior: of curves.
        points: measured, at least one.
        classes: C.
        labels: where, m numbers of labels.

    """
    x = np.log(np.array([point.labels for point in points]) / classes)
    x_new = np.log(np.asarray(labels) / classes)
    z, error = measured(points, prior.shared)
    K = prior.covariance(x, x) + np.diag(prior.training_variance(x)) + error
    across, r = np.linalg.solve(K, prior.covariance(x, x_new)).T, z - prior.mean(x)  # [m, n], [n]
    mean = prior.mean(x_new) + across @ r
    scale = (prior.dof + r @ np.linalg.solve(K, r)) / (prior.dof + len(x))
    covariance = scale * (prior.covariance(x_new, x_new) - across @ prior.covariance(x, x_new))
    return Posterior(mean, covariance, scale * prior.training_variance(x_new), prior.dof + len(x))


class Forecast(NamedTuple):
    """What is to be expected.

    Args:
        labels: m numbers of labels more.
        accuracy: median of what a network trained on so many would have ``[m]``.
        low: lower end of its 95 % band ``[m]``.
        high: upper end.
        gain: median of what the labels would add to the accuracy, trainings averaged ``[m]``.
        gain_low: lower end of its 90 % band: 95 % lies above it.
        gain_high: upper end: 95 % lies below it.
        now: median of what the curve has now, trainings averaged, which gains are counted from.

    """

    labels: tuple[int, ...]
    accuracy: np.ndarray
    low: np.ndarray
    high: np.ndarray
    gain: np.ndarray
    gain_low: np.ndarray
    gain_high: np.ndarray
    now: float

    @property
    def by_labels(self) -> tuple[np.ndarray, ...]:
        """All that there is one of for each number of labels, in the order of the fields."""
        return (self.accuracy, self.low, self.high, self.gain, self.gain_low, self.gain_high)


def forecast(prior: Prior, points: Sequence[Point], classes: int, more: Sequence[int], draws: int = DRAWS) -> Forecast:
    """Return bands for the accuracy after some more labels, and for what they would add.

    What they would add is counted over curves that do not fall from now on.

    Args:
        prior: of curves.
        points: the run's, in order of labels; at least one.
        classes: C.
        more: numbers of labels beside those of the last point.
        draws: curves to count gains with.

    """
    now = points[-1].labels
    posterior = condition(prior, points, classes, [now, *(now + one for one in more)])
    tails = np.array([0.5, (1 - LEVEL) / 2, (1 + LEVEL) / 2])
    sd = prior.widening * posterior.sd[1:]
    accuracy = expit(posterior.mean[1:] + stdtrit(posterior.dof, tails)[:, None] * sd)
    root = np.linalg.cholesky(posterior.covariance + 1e-9 * np.eye(len(posterior.mean)))
    rng = np.random.default_rng(0)
    f = rng.standard_normal((draws, len(posterior.mean))) @ root.T
    f /= np.sqrt(rng.chisquare(posterior.dof, draws) / posterior.dof)[:, None]
    p = expit(posterior.mean + prior.widening * f)
    rising = (np.diff(p, axis=1) >= 0).all(axis=1)  # trainings averaged, labels do not harm
    p = p[rising] if rising.sum() >= FEWEST else p
    gain = np.quantile(p[:, 1:] - p[:, :1], (0.5, 1 - LEVEL, LEVEL), axis=0)
    level = float(np.median(p[:, 0]))
    (mid, low, high), (gain_mid, gain_low, gain_high) = accuracy, gain
    return Forecast(tuple(more), mid, low, high, gain_mid, gain_low, gain_high, level)
