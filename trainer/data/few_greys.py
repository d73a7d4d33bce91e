"""Images that become a few greys though they have many values: outliers set what is read as black and white."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SAMPLE = 2**20  # pixels that are looked at
MIDDLE = (0.01, 0.99)  # of these, by value
FEW, MORE = 16, 4


class FewGreys(NamedTuple):
    """What is left of the values of most pixels.

    Args:
        greys: that they become.
        values: that they have.

    """

    greys: int
    values: int

    def said(self, what: str) -> str:
        """Return the sentence that says so.

        Args:
            what: the images.

        """
        return (
            f"98 % of the pixels of {what} have {self.values:,} values and become {self.greys} of 256 greys, as a few "
            "others set what is black and white: cut these off before the images are saved"
        )


def sampled(pixels: NDArray[Any], most: int = SAMPLE) -> NDArray[Any]:
    """Return some of the pixels of images, evenly spread.

    Args:
        pixels: any array.
        most: how many at most.

    """
    return np.asarray(pixels.flat[:: max(1, -(-pixels.size // most))])


def few_greys(pixels: NDArray[Any], grey: Callable[[NDArray[Any]], NDArray[Any]]) -> FewGreys | None:
    """Tell whether most pixels become a few greys though they have many values; None where not.

    A background that is one value has only that to lose, whatever stands before it.

    Args:
        pixels: some of them ``[n]``.
        grey: what values become.

    """
    ordered = np.sort(pixels)
    first, last = (round(share * (len(ordered) - 1)) for share in MIDDLE)
    middle = ordered[first : last + 1]
    greys, values = len(np.unique(grey(middle))), len(np.unique(middle))
    return FewGreys(greys, values) if greys <= FEW and values >= MORE * greys else None
