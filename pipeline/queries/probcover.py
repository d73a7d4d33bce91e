"""ProbCover: samples whose balls cover most of what no labelled sample's ball covers."""

from collections.abc import Iterator

import numpy as np

from pipeline.queries.base import QueryStrategy
from pipeline.queries.clusters import k_means
from pipeline.queries.distances import squared_distances
from pipeline.queries.selection import Selection, check_count, select_in_order
from pipeline.queries.state import QueryState

PURITY = 0.95
"""α: the share of balls that must hold one class."""
BLOCK = 1024  # samples whose distances are held at once


class ProbCover(QueryStrategy):
    """Greedy coverage by balls of one radius δ: again and again the candidate that covers most of the uncovered.

    s = argmax_x |{x' : ‖h - h'‖ < δ, x' not covered}|,  δ = sup {δ : P(the ball of x holds one class) ≥ 0.95}

    Classes are those of k-means with as many clusters as classes; samples are the labelled and the candidates.  The
    paper looks for δ on a grid that a user chooses for a data set; here it is exact, the distance up to which 95 % of
    the balls are pure.  The ball is open, as in the published code, so that at δ itself they still are.  When
    everything is covered, what is left is as good as random.  Memory is one byte for each pair, (L + U) U.

    Source: Yehuda et al. 2022, algorithm 1.
    """

    name = "probcover"
    description = "whose ball in the network's features holds most that no labelled or chosen sample's ball does"
    source = "Yehuda et al. 2022"
    needs_port = False
    needs_features = True

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose ``n`` candidates one after another; the figure ``radius`` is δ, absent where nothing limits it."""
        check_count(state.candidates, n)
        L = len(state.labelled.ids)
        points = np.concatenate([state.labelled_features, state.features]).astype(np.float64)
        classes = k_means(points, min(state.num_classes, len(points)), state.rng).of
        radius = pure_radius(points, classes)
        selection = select_in_order(state.candidates, greedy_cover(points, L, radius, n))
        return selection._replace(figures={"radius": radius} if np.isfinite(radius) else {})


def pure_radius(points: np.ndarray, classes: np.ndarray, purity: float = PURITY) -> float:
    """Return the largest radius of open balls of which a share ``purity`` holds one class; infinite where all may.

    The ball of x is pure up to the distance of the nearest sample of another class.

    Args:
        points: ``[N, d]``.
        classes: theirs ``[N]``.
        purity: α.

    """
    nearest = np.full(len(points), np.inf)  # of another class
    for rows, squared in _squared(points):
        other = np.where(classes[rows, None] == classes[None], np.inf, squared)
        nearest[rows] = other.min(axis=1)
    impure = int((1 - purity) * len(points))  # so many balls may be
    return float(np.sqrt(np.sort(nearest)[impure]))


def greedy_cover(points: np.ndarray, labelled: int, radius: float, n: int) -> np.ndarray:
    """Choose n points, each the one whose open ball holds most that is not covered yet; of equals the first.

    Args:
        points: the labelled, then the candidates ``[L + U, d]``.
        labelled: L; their balls are covered at the start.
        radius: δ.
        n: how many, at most U.

    Returns:
        Positions among the candidates ``[n]`` in the order chosen.

    """
    N = len(points)
    holds = np.empty((N, N - labelled), bool)  # whether a sample lies in a candidate's ball
    covered = np.zeros(N, bool)
    for rows, squared in _squared(points):
        within = np.sqrt(squared) < radius  # the root of its own square is no smaller than itself
        holds[rows], covered[rows] = within[:, labelled:], within[:, :labelled].any(axis=1)
    gains = holds[~covered].sum(axis=0)
    order: list[int] = []
    while len(order) < n:
        chosen = int(np.argmax(gains))
        new = holds[:, chosen] & ~covered
        covered |= new
        gains -= holds[new].sum(axis=0)
        gains[chosen] = -1
        order.append(chosen)
    return np.array(order)


def _squared(points: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows and their squared distances to all points ``[B, N]``, alike to the last bit whenever it is called."""
    centred = points - points.mean(axis=0)  # distances do not depend on it, their rounding does
    norms = np.einsum("nd,nd->n", centred, centred)
    for start in range(0, len(points), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(points)))
        yield rows, squared_distances(norms[rows, None], centred[rows] @ centred.T, norms[None])
