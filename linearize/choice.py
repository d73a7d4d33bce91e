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
        following: what ranked next when the last one was chosen, best first: ids of at most ``FOLLOWING`` candidates,
            one of which is likely to be chosen after it.

    """

    ids: np.ndarray
    scores: np.ndarray
    following: np.ndarray = np.empty(0, int)


FOLLOWING = 4


def following(scores: np.ndarray, chosen: int) -> np.ndarray:
    """Return the positions of the highest scores but for what was chosen, best first.

    Args:
        scores: ``[U]``, -inf where answered.
        chosen: a position.

    """
    ranked = np.argpartition(-scores, min(FOLLOWING, len(scores) - 1))[: FOLLOWING + 1]
    ranked = ranked[np.argsort(-scores[ranked], kind="stable")]
    return ranked[(ranked != chosen) & np.isfinite(scores[ranked])][:FOLLOWING]


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
