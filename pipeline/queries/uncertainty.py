"""Myopic baselines: where is the network unsure now?  Each is a function of the class probabilities."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from common.probabilities import entropy, lack_of_confidence, negative_margin
from pipeline.queries.base import QueryStrategy
from pipeline.queries.selection import Selection, select_top
from pipeline.queries.state import QueryState

__all__ = ["UNCERTAINTY", "Uncertainty", "entropy", "lack_of_confidence", "negative_margin"]


@dataclass(frozen=True)
class Uncertainty(QueryStrategy):
    """Query where a function of the class probabilities is highest."""

    name: str
    description: str
    source: str
    measure: Callable[[np.ndarray], np.ndarray]
    needs_port = False

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose the ``n`` candidates with the highest measure."""
        return select_top(state.candidates, self.measure(state.probabilities), n)


UNCERTAINTY = (
    Uncertainty("entropy", "highest entropy of the class probabilities", "Settles 2009, sec. 3.1", entropy),
    Uncertainty("margin", "smallest gap between the two likeliest classes", "Scheffer et al. 2001", negative_margin),
    Uncertainty("least-confidence", "lowest top probability", "Lewis & Gale 1994", lack_of_confidence),
)
