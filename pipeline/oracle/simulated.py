"""An annotator that knows the data set's own labels; the one object of a run that may read the pool's."""

from collections.abc import Sequence

import numpy as np


class SimulatedOracle:
    """Answers at once and correctly from the data set's labels.

    Args:
        labels: class index of every training sample ``[N]``.

    """

    def __init__(self, labels: np.ndarray) -> None:
        self._labels = labels

    def answer(self, ids: Sequence[int]) -> list[tuple[int, int]]:
        """Return the true label of every sample asked."""
        return [(sample, int(self._labels[sample])) for sample in ids]
