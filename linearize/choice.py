"""What was chosen, how several are, and which candidate is the best now."""

from typing import Literal, NamedTuple, get_args

import numpy as np

from linearize.posterior import Posterior

Mode = Literal["top", "greedy", "sequential"]
"""How ``query`` chooses: the highest scores; one after another, each as if answered by its likeliest label; the single
best now."""
MODES: tuple[Mode, ...] = get_args(Mode)


class Choice(NamedTuple):
    """What to label next.

    Args:
        ids: best first ``[n]``.
        scores: their scores when they were chosen ``[n]``.

    """

    ids: np.ndarray
    scores: np.ndarray


def best(posterior: Posterior, scores: np.ndarray) -> tuple[int, float]:
    """Return the candidate to query next and its score: the highest among those that would tell something.

    Where all that are left are redundant, the highest score among those.

    Args:
        posterior: the linearised network.
        scores: ``[U]``, -inf where answered.

    """
    useful = ~(posterior.redundant | posterior.answered)
    chosen = int(np.where(useful, scores, -np.inf).argmax() if useful.any() else scores.argmax())
    return chosen, float(scores[chosen])
