"""Names of curves where they end, so that nobody has to look from a curve to a legend and back."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST, LONGEST = 7, 32
"""Curves that are named so, and characters of a name; others have a legend."""
FONT, GAP = 9, 12.5
"""Points: of a name, and between the middles of two."""
AWAY, PLOTTED = 9, 0.86
"""Points between a curve's end and its name; the share of a figure's height that the axes take, about."""


class End(NamedTuple):
    """Where a curve ends.

    Args:
        name: of the curve.
        color: that it is drawn in.
        x: its last position.
        y: its last value.

    """

    name: str
    color: str
    x: float
    y: float


def fit(ends: Sequence[End]) -> bool:
    """Tell whether curves can be named at their ends: few of them, short names, one end.

    Args:
        ends: of all curves.

    """
    return len(ends) <= MOST and len({end.x for end in ends}) == 1 and max(len(end.name) for end in ends) <= LONGEST


def spread(values: Sequence[float], gap: float) -> NDArray[np.float64]:
    """Return values that lie at least ``gap`` apart, in the same order, moved as little as that takes (squares).

    Less ``i · gap`` for the i-th one they must not fall: neighbours that do are pooled to their mean, as in isotonic
    regression.

    Args:
        values: in rising order ``[n]``.
        gap: at least 0.

    """
    pools: list[tuple[float, int]] = []  # mean and number
    for i, value in enumerate(values):
        pools.append((value - i * gap, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, m), (b, n) = pools[-2:]
            pools[-2:] = [((m * a + n * b) / (m + n), m + n)]
    return np.repeat([mean for mean, _ in pools], [n for _, n in pools]) + gap * np.arange(len(values))


def name_ends(axes: Any, ends: Sequence[End]) -> None:
    """Write each curve's name behind its end, in its colour; a thin line leads to one that had to move.

    Args:
        axes: with every curve drawn.
        ends: of the curves.

    """
    low, high = axes.get_ylim()
    points = axes.figure.get_figheight() * 72 * PLOTTED / (high - low)  # a unit of y
    ordered = sorted(ends, key=lambda end: end.y)
    moved = spread([end.y * points for end in ordered], GAP)
    for end, y in zip(ordered, moved, strict=True):
        lead = {"arrowstyle": "-", "color": end.color, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3}
        axes.annotate(
            end.name.replace("$", r"\$"),  # a pair of $ would begin a formula
            (end.x, end.y),
            (AWAY, y - end.y * points),
            textcoords="offset points",
            va="center",
            fontsize=FONT,
            color=end.color,
            arrowprops=lead if abs(y - end.y * points) > GAP / 4 else None,
            annotation_clip=False,
        )
