"""EPIG: whose label would tell most about the labels of the others?"""

import numpy as np

from common.probabilities import entropy
from pipeline.queries.base import QueryStrategy
from pipeline.queries.selection import Selection, check_count, select_top
from pipeline.queries.state import QueryState

TARGETS = 500
"""Most targets, drawn uniformly from the candidates where there are more.  The authors' code takes 100."""
BLOCK = 1 << 22  # entries of joint tables that are held at once


class Epig(QueryStrategy):
    """Query what the dropout networks expect to gain most from in predicting the candidates.

    EPIG(x) = E_x* I(y; y* | x, x*), over targets x*: the candidates themselves, x among them, or a sample of them

    BALD asks what tells about the network's weights, whether or not any prediction depends on them; EPIG asks for
    predictions.  Each candidate is scored by itself; the paper asks one at a time.

    Source: Bickford Smith et al. 2023, sec. 4.
    """

    name = "epig"
    description = "whose label would tell most about the other candidates' labels (Monte Carlo dropout)"
    source = "Bickford Smith et al. 2023"
    needs_port = False
    needs_dropout = True

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose the ``n`` candidates of the highest expected predictive information gain."""
        check_count(state.candidates, n)
        p, U = state.sampled_probabilities, len(state.candidates)
        targets = p if U <= TARGETS else p[:, np.sort(state.rng.choice(U, TARGETS, replace=False))]
        return select_top(state.candidates, predictive_information(p, targets), n)


def predictive_information(p: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the mean over targets of I(y; y*) = H(y) + H(y*) - H(y, y*), with p(y, y*) = E_k p_k(y) p_k(y*).

    The tables of all pairs, U T C² numbers, are held a block at a time.

    Args:
        p: class probabilities of the candidates in K passes ``[K, U, C]``.
        targets: of the targets, in the same passes ``[K, T, C]``.

    Returns:
        Nats ``[U]``, at least 0.

    """
    K, U, C = p.shape
    T = targets.shape[1]
    columns = max(1, BLOCK // C**2)  # targets at once
    rows = max(1, BLOCK // (min(columns, T) * C**2))  # candidates at once
    joint = np.zeros(U)  # sum over targets of H(y, y*)
    for first in range(0, T, columns):
        b = targets[:, first : first + columns].reshape(K, -1)  # [K, tC]
        for start in range(0, U, rows):
            a = p[:, start : start + rows].reshape(K, -1)  # [K, uC]
            joint[start : start + rows] += entropy((a.T @ b / K).reshape(-1, C * b.shape[1]))
    apart = entropy(p.mean(axis=0)) + entropy(targets.mean(axis=0)).mean()
    return np.asarray(np.maximum(apart - joint / T, 0.0))
