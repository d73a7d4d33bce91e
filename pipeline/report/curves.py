"""Curves over labels: what is drawn of a few seeds, of many, and of curves that lie on one another."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.report.analysis import Curve, Line
from pipeline.report.statistics import Band

FEWEST_BANDED = 3
"""Seeds of a mean that is drawn with its band: of two it reaches 13 standard errors to each side, beyond the axis."""
SAME, MARGIN = 0.012, 0.05
"""Shares of the axis: curves that lie nearer to one another cover each other; room that is left above and below."""
WIDTH, WIDER, MARKER, LARGER, WIDEST = 1.8, 2.6, 5.0, 3.4, 3
"""Points: of a line and its markers, by how much those are wider that lie under another, and of how many at most."""
NESTED = "Curves that lie on one another are drawn one inside the other."


def banded_at(band: Band) -> bool:
    """Tell whether a mean is drawn with its band."""
    return band.half is not None and band.n >= FEWEST_BANDED


def accuracy_range(lines: Sequence[Line]) -> tuple[float, float]:
    """Return the ends of an axis that shows every mean, every single seed that is drawn, and bands as far as 0 to 1.

    Args:
        lines: of all strategies.

    """
    ends = [
        value
        for line in lines
        for _, band in line.curve
        for value in ((band.low, band.high) if banded_at(band) else (band.mean,))
    ]
    seeds = [seed for line in lines if not _banded(line.curve) for seed in line.curves_by_seed]
    single = [accuracy for seed in seeds for _, accuracy in seed]
    shown = np.clip([*ends, *single], 0, 1)
    room = MARGIN * max(float(np.ptp(shown)), 0.02)
    return float(shown.min()) - room, float(shown.max()) + room


def lines_under(curves: Sequence[Curve]) -> list[int]:
    """Return under how many later curves each one lies, three at most: not further from them than can be told apart.

    Args:
        curves: in the order in which they are drawn.

    """
    means = [{labels: band.mean for labels, band in curve} for curve in curves]
    every = [mean for curve in means for mean in curve.values()]
    near = SAME * max(float(np.ptp(every)) if every else 0.0, 1e-9)

    def covers(upper: dict[int, float], lower: dict[int, float]) -> bool:
        common = upper.keys() & lower.keys()
        return bool(common) and float(np.mean([abs(upper[x] - lower[x]) for x in common])) <= near

    return [min(WIDEST, sum(covers(upper, lower) for upper in means[i + 1 :])) for i, lower in enumerate(means)]


def band_line(
    axes: Any,
    curve: Curve,
    style: dict[str, str],
    label: str,
    seeds: Sequence[Sequence[tuple[int, float]]],
    covered: int = 0,
    *,
    always_single: bool = False,
) -> None:
    """Draw a mean over labels with its band, or with its single seeds where a band would say nothing.

    Args:
        axes: to draw on.
        curve: the mean.
        style: colour, marker and line style.
        label: of the curve.
        seeds: what it averages.
        covered: how many curves that are drawn later lie on it.
        always_single: whether single seeds are drawn beside a band, too.

    """
    x = [labels for labels, _ in curve]
    sizes = {"linewidth": WIDTH + WIDER * covered, "markersize": MARKER + LARGER * covered}
    means = [band.mean for _, band in curve]
    axes.plot(x, means, label=label, **sizes, **style)
    if _banded(curve):
        low, high = ([end(band) for _, band in curve] for end in (lambda b: b.low, lambda b: b.high))
        axes.fill_between(x, low, high, color=style["color"], alpha=0.13, linewidth=0)
    if always_single or (len(seeds) > 1 and not _banded(curve)):
        for seed in seeds:
            axes.plot(*zip(*seed, strict=True), color=style["color"], linewidth=0.7, alpha=0.45, zorder=1.5)


def _banded(curve: Curve) -> bool:
    return any(banded_at(band) for _, band in curve)
