"""Stop, go on, or cannot tell yet: what follows of a forecast."""

from typing import Literal

from pipeline.advise.curves import Forecast

Verdict = Literal["stop", "go on", "cannot tell yet"]
MORE = (20, 50, 100)
"""Labels more, of which a forecast is made; the last decides."""
WORTH = 0.01
"""Accuracy that the last of them must bring to be worth the work, unless somebody says otherwise."""


def decide(forecast: Forecast, worth: float) -> Verdict:
    """Return "stop" where the gain is under what is worth it with 95 % certainty, "go on" where it is above.

    Args:
        forecast: of ``MORE``.
        worth: accuracy that the labels must bring, as a share.

    """
    if forecast.gain_high[-1] < worth:
        return "stop"
    if forecast.gain_low[-1] >= worth:
        return "go on"
    return "cannot tell yet"
