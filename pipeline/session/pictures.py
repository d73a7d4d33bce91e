"""What a person is shown of a sample, encoded once and kept for a while within a bound."""

import threading
from collections import OrderedDict

from pipeline.session.desk import DeskError
from trainer.data import DataSet
from trainer.data.show import picture
from trainer.errors import TrainerError

KEPT_BYTES = 64 * 2**20


class Pictures:
    """Encoded images of the training half, by id.

    Args:
        data: the run's.

    """

    def __init__(self, data: DataSet) -> None:
        self._data = data
        self._kept: OrderedDict[tuple[int, int], tuple[bytes, str]] = OrderedDict()
        self._bytes, self._lock = 0, threading.Lock()

    def __call__(self, sample: int, side: int) -> tuple[bytes, str]:
        """Return an encoded image and its media type.

        Args:
            sample: id.
            side: pixels that neither side exceeds.

        Raises:
            DeskError: there is none, or its file cannot be read any more.

        """
        with self._lock:
            if (kept := self._kept.get((sample, side))) is not None:
                self._kept.move_to_end((sample, side))
                return kept
        try:
            made = picture(self._data, "train", sample, side)
        except (TrainerError, OSError) as error:
            raise DeskError(f"sample {sample} cannot be shown: {error}", 404) from error
        with self._lock:
            if (sample, side) not in self._kept:
                self._kept[sample, side] = made
                self._bytes += len(made[0])
            while self._bytes > KEPT_BYTES:
                _, (dropped, _) = self._kept.popitem(last=False)
                self._bytes -= len(dropped)
        return made
