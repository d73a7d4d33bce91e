"""Uncertainty of the linearised network: how unsure it is of a candidate once it is trained to convergence.

These look ahead to the end of training on what is labelled, not to another label, so Θ(U,X) is all that they need.  A
redundant candidate scores what one of a sure class does, the least there is: its answer is known.
"""

from collections.abc import Callable

import numpy as np

from common.probabilities import entropy, lack_of_confidence, negative_margin
from linearize.criteria.base import Criterion, Request
from linearize.posterior import Posterior


def _criterion(
    name: str, formula: str, description: str, source: str, measure: Callable[[np.ndarray], np.ndarray], least: float
) -> Criterion:
    def score(posterior: Posterior, request: Request) -> np.ndarray:
        return np.where(posterior.redundant, least, measure(request.loss.probabilities.of(posterior.mean)))

    return Criterion(name, formula, description, source, score, ranking_target="training", needs="mean")


MARGIN_LIN = _criterion(
    "margin-lin",
    "A(x') = p_(2) - p_(1), of p(f_lin(x'))",
    "whose two likeliest classes the network, trained to convergence, would tell apart least",
    "Scheffer et al. 2001, of f_lin",
    negative_margin,
    -1.0,
)
ENTROPY_LIN = _criterion(
    "entropy-lin",
    "A(x') = H(p(f_lin(x')))",
    "whose classes the network, trained to convergence, would have the highest entropy of",
    "Settles 2009, sec. 3.1, of f_lin",
    entropy,
    0.0,
)
LEAST_CONFIDENCE_LIN = _criterion(
    "least-confidence-lin",
    "A(x') = 1 - max_c p_c(f_lin(x'))",
    "whose likeliest class the network, trained to convergence, would be least sure of",
    "Lewis & Gale 1994, of f_lin",
    lack_of_confidence,
    0.0,
)
