"""Half-way criteria: how unsure the linearised network is of a candidate once it is trained to convergence.

They look ahead to the end of training on what is labelled, not to another label, so Θ(U,X) is all that they need.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from linearize.criteria.base import DEFAULT_COLUMNS, Distance, Predictions, Reference
from linearize.probabilities import Probabilities, class_probabilities
from linearize.types import Float64


def entropy(p: np.ndarray) -> Float64:
    """H = -Σ_c p_c log p_c of each row, in nats, ``[N]``, with 0 log 0 = 0."""
    positive = p > 0
    return -np.where(positive, p * np.log(np.where(positive, p, 1.0)), 0.0).sum(axis=1)


def negative_margin(p: np.ndarray) -> Float64:
    """p_(2) - p_(1) of each row, minus the gap between its two likeliest classes, ``[N]``."""
    second, first = np.sort(p, axis=1)[:, -2:].T if p.shape[1] > 1 else (np.zeros(len(p)), p[:, 0])
    return np.asarray(second - first)


def lack_of_confidence(p: np.ndarray) -> Float64:
    """1 - max_c p_c of each row, ``[N]``."""
    return np.asarray(1 - p.max(axis=1))


@dataclass(frozen=True)
class Halfway:
    """A(x') = m(p(f_lin(x'))) for a measure m of being unsure, p as the network's loss asks for.

    Both references give the same scores, since no change is measured.  A redundant candidate scores what a candidate
    of a sure class does, the least there is: its answer is known.

    Args:
        name: what users call it.
        source: whom to cite.
        measure: maps probabilities ``[U, C]`` to ``[U]``.
        least: the measure of a class that is sure.
        probabilities: ``simplex`` or ``softmax``.

    """

    name: str
    source: str
    measure: Callable[[np.ndarray], Float64]
    least: float
    probabilities: Probabilities = "simplex"
    default_reference: Reference = "linearized"

    def scores(
        self,
        state: Predictions,
        reference: Reference,
        block: int = DEFAULT_COLUMNS,
        distance: Distance = "outputs",
    ) -> Float64:
        """Score every candidate, ``[U]``, in O(UC); the other arguments make no difference."""
        unsure = self.measure(class_probabilities(state.f_lin, self.probabilities))
        return np.where(state.redundant, self.least, unsure)


def margin_lin(probabilities: Probabilities = "simplex") -> Halfway:
    """Smallest margin of f_lin."""
    return Halfway("margin-lin", "Scheffer et al. 2001, of f_lin", negative_margin, -1.0, probabilities)


def entropy_lin(probabilities: Probabilities = "simplex") -> Halfway:
    """Highest entropy of f_lin."""
    return Halfway("entropy-lin", "Settles 2009, sec. 3.1, of f_lin", entropy, 0.0, probabilities)


def least_confidence_lin(probabilities: Probabilities = "simplex") -> Halfway:
    """Lowest top probability of f_lin."""
    source = "Lewis & Gale, SIGIR 1994, of f_lin"
    return Halfway("least-confidence-lin", source, lack_of_confidence, 0.0, probabilities)
