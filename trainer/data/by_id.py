"""What an id leads to: the network's input, and the row of a user's own array; and which numbers are ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainer.errors import TrainerError

Stored = NDArray[np.uint8] | NDArray[np.float32]
"""Images as bytes ``[N, C, H, W]``, or features ``[N, d, 1, 1]``."""


class ArrayRows(NamedTuple):
    """Which rows of a user's arrays the samples of a half are.

    Args:
        file: name of the archive.
        arrays: names of its arrays.
        array: for each sample a position in ``arrays``, ``[N]``.
        row: its row there, ``[N]``.

    """

    file: str
    arrays: tuple[str, ...]
    array: NDArray[np.int64]
    row: NDArray[np.int64]

    def name(self, index: int) -> str:
        """Return what a user finds a sample by, such as ``photos.npz#X[14]``."""
        return f"{self.file}#{self.arrays[self.array[index]]}[{self.row[index]}]"


@dataclass(frozen=True)
class ImageView:
    """Normalised network inputs by id; holds no labels and no way to them.

    Args:
        images: as in ``Split``, ``[N, C, H, W]``.
        scale: what a value is divided by.
        mean: per channel, as in ``DataSet``.
        std: per channel, as in ``DataSet``.
        what: how messages name the ids.

    """

    images: Stored
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    what: str

    def __call__(self, indices: ArrayLike | None = None) -> NDArray[np.float32]:
        """Return ``(images/scale - mean)/std``, float32 ``[n, C, H, W]``, fresh; of all images if no ids are given."""
        wanted = self.images if indices is None else self.images[check_ids(indices, len(self.images), self.what)]
        x = wanted.astype(np.float32)  # [n, C, H, W]
        x /= np.float32(self.scale)
        x -= np.asarray(self.mean, np.float32)[:, None, None]
        x /= np.asarray(self.std, np.float32)[:, None, None]
        return x


@dataclass(frozen=True)
class PoolInputs:
    """Inputs of what has no label, fetched when they are asked for; no label can be reached by them.

    Args:
        images: maps ids to inputs.
        ids: of them ``[U]``.

    """

    images: ImageView
    ids: NDArray[np.int64]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.ids)

    def __getitem__(self, rows: Any) -> Any:
        """Return normalised inputs of rows, float32 ``[B, ...]``."""
        return self.images(self.ids[rows])


def check_ids(indices: ArrayLike | Sequence[int], size: int, what: str) -> NDArray[np.int64]:
    """Return sample ids as int64, refused when they are not integers in ``[0, size)``.

    Negative numbers and boolean masks are refused: an id names one image for good.

    Args:
        indices: ids, integers ``[n]``.
        size: number of images there are.
        what: how the message names them.

    Returns:
        int64 ``[n]``.

    Raises:
        TrainerError: wrong type, rank or range.

    """
    ids = np.asarray(indices)
    if ids.size == 0 and ids.ndim == 1:
        return np.empty(0, np.int64)
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise TrainerError(f"{what}: expected a list of integers, got {ids.dtype} of shape {list(ids.shape)}")
    if ids.min() < 0 or ids.max() >= size:
        bad = ids[(ids < 0) | (ids >= size)][0]
        raise TrainerError(f"{what}: {bad} is not an id; ids run from 0 to {size - 1}")
    return ids.astype(np.int64)
