"""Myopic baselines: where is the network unsure now?  Each is a function of the class probabilities."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.queries.base import QueryState, Selection, select_top


def entropy(p: np.ndarray) -> np.ndarray:
    """H = -Σ_c p_c log p_c of each row, in nats, ``[N]``, with 0 log 0 = 0.  Source: Settles 2009, sec. 3.1."""
    positive = p > 0
    return -np.where(positive, p * np.log(np.where(positive, p, 1.0)), 0.0).sum(axis=1)


def negative_margin(p: np.ndarray) -> np.ndarray:
    """p_(2) - p_(1): minus the gap between each *sample's* two likeliest classes, ``[N]``.

    Source: Scheffer et al. 2001.
    """
    top_two = np.sort(p, axis=1)[:, -2:]
    return top_two[:, 0] - top_two[:, 1]


def lack_of_confidence(p: np.ndarray) -> np.ndarray:
    """1 - max_c p_c of each row, ``[N]``.  Source: Lewis & Gale, SIGIR 1994."""
    return 1 - p.max(axis=1)


@dataclass(frozen=True)
class Uncertainty:
    """Query where a function of the class probabilities is highest."""

    name: str
    description: str
    source: str
    measure: Callable[[np.ndarray], np.ndarray]
    needs_port: bool = False

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose the ``n`` candidates with the highest measure."""
        return select_top(state.candidates, self.measure(state.probabilities), n)


UNCERTAINTY = (
    Uncertainty("entropy", "highest entropy of the class probabilities", "Settles 2009, sec. 3.1", entropy),
    Uncertainty("margin", "smallest gap between the two likeliest classes", "Scheffer et al. 2001", negative_margin),
    Uncertainty("least-confidence", "lowest top probability", "Lewis & Gale, SIGIR 1994", lack_of_confidence),
)
