"""BALD: where do networks that all fit the labels disagree, each of them sure?"""

import numpy as np

from common.probabilities import entropy
from pipeline.queries.base import QueryStrategy
from pipeline.queries.selection import Selection, select_top
from pipeline.queries.state import QueryState


class Bald(QueryStrategy):
    """Query where a label would tell most about which of the dropout networks is right.

    I(y; ω | x) = H(E_k p_k(x)) - E_k H(p_k(x))

    Each candidate is scored by itself, so a query of several may ask for copies; ``batchbald`` does not value them
    alike.

    Source: Houlsby et al. 2011, eq. 2; Gal, Islam & Ghahramani 2017 for dropout.
    """

    name = "bald"
    description = "whose label would tell most about which dropout network is right (Monte Carlo dropout)"
    source = "Houlsby et al. 2011; Gal, Islam & Ghahramani 2017"
    needs_port = False
    needs_dropout = True

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose the ``n`` candidates of the highest mutual information."""
        return select_top(state.candidates, mutual_information(state.sampled_probabilities), n)


def conditional_entropy(p: np.ndarray) -> np.ndarray:
    """Return E_k H(p_k) of each candidate: what stays unknown of its label once the network is known.

    Args:
        p: class probabilities in K passes ``[K, U, C]``.

    Returns:
        Nats ``[U]``.

    """
    K, U, C = p.shape
    return entropy(p.reshape(K * U, C)).reshape(K, U).mean(axis=0)


def mutual_information(p: np.ndarray) -> np.ndarray:
    """Return I(y; ω) = H(E_k p_k) - E_k H(p_k) of each candidate, at least 0 and at most log K.

    Args:
        p: class probabilities in K passes ``[K, U, C]``.

    Returns:
        Nats ``[U]``.

    """
    return np.maximum(entropy(p.mean(axis=0)) - conditional_entropy(p), 0.0)
