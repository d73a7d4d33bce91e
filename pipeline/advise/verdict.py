"""Stop, go on, or cannot tell yet: what follows of a forecast."""

from collections.abc import Sequence
from typing import Literal

from pipeline.advise.curves import Forecast, Point

Verdict = Literal["stop", "go on", "cannot tell yet"]
MORE = (20, 50, 100)
"""Labels more, of which a forecast is made; the last decides."""
WORTH = 0.01
"""Accuracy that the last of them must bring to be worth the work, unless somebody says otherwise."""
FEWEST_IMAGES = 20
FEWEST_NETWORKS = 2
"""On which something must have been measured before anybody is told to stop or to go on."""


def too_little(points: Sequence[Point]) -> bool:
    """Tell whether too little was measured for any verdict.

    Args:
        points: of a run.

    """
    return len(points) < FEWEST_NETWORKS or points[-1].images < FEWEST_IMAGES


def decide(forecast: Forecast, worth: float, points: Sequence[Point]) -> Verdict:
    """Return "stop" where 95 % of what the gain may be lies under what is worth it, "go on" where 95 % lies above.

    Args:
        forecast: of ``MORE``.
        worth: accuracy that the labels must bring, as a share.
        points: that it was made from.

    """
    if too_little(points):
        return "cannot tell yet"
    if forecast.gain_high[-1] < worth:
        return "stop"
    if forecast.gain_low[-1] >= worth:
        return "go on"
    return "cannot tell yet"
