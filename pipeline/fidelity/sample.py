"""Which candidates are really retrained."""

from typing import NamedTuple

import numpy as np


class Sampled(NamedTuple):
    """Some of a cycle's candidates.

    Args:
        positions: among the candidates ``[n]``.
        how: for each, ``quantile`` or ``uniform`` ``[n]``.

    """

    positions: np.ndarray
    how: list[str]


RULE = "half at equally spaced ranks of the criterion's score, half drawn uniformly from the rest"


def draw_sample(scores: np.ndarray, n: int, rng: np.random.Generator) -> Sampled:
    """Draw candidates: half spread over the score, so that its ends are seen, half uniformly from the rest.

    The ranks are those in the middle of ⌊n/2⌋ equal shares of the candidates, so both halves stand for all of them.

    Args:
        scores: the criterion's scores ``[U]``.
        n: how many; all candidates where there are fewer.
        rng: where chance comes from.

    """
    U = len(scores)
    n = min(n, U)
    spread = n // 2
    ranks = ((np.arange(spread) + 0.5) * U / max(spread, 1)).astype(int)
    chosen = np.argsort(-scores, kind="stable")[ranks]
    rest = np.setdiff1d(np.arange(U), chosen)
    uniform = rng.choice(rest, n - spread, replace=False)
    return Sampled(np.concatenate([chosen, uniform]), ["quantile"] * spread + ["uniform"] * (n - spread))
