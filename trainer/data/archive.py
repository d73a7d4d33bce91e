"""Which arrays of a user's archive are inputs, labels and texts, and reading these alone; nothing is unpickled."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from numpy.typing import NDArray

from common import npz
from common.reading import why
from trainer.data.arrays import SplitName
from trainer.data.custom import listed
from trainer.errors import DataCorrupt, DataNotFound, TrainerError

HALVES = (
    (("train", "x_train", "y_train"), ("test", "x_test", "y_test")),
    (
        ("train", "train_images", "train_labels"),
        ("train", "val_images", "val_labels"),
        ("test", "test_images", "test_labels"),
    ),
)
INPUTS = ("X", "x", "images", "embeddings", "features")
LABELS = ("y", "labels", "Y", "label", "target", "targets")
SHOWN = ("show", "text")
NAMES = (
    "X, y; images, labels; embeddings, labels; x_train, y_train, x_test, y_test; or MedMNIST's train_images, "
    "train_labels, ..."
)
Read = TypeVar("Read")


class Part(NamedTuple):
    """Arrays that belong together, one row a sample.

    Args:
        half: the half that they are of; None where it is still to be drawn.
        x: name of the inputs.
        y: name of the labels; None where there are none.
        text: name of what is shown to a person, likewise.

    """

    half: SplitName | None
    x: str
    y: str | None
    text: str | None

    @property
    def names(self) -> list[str]:
        """The names that there are."""
        return [name for name in (self.x, self.y, self.text) if name]


def find_parts(path: Path, names: Collection[str]) -> list[Part]:
    """Tell from their names which arrays are what; MedMNIST's validation images are training images here.

    Args:
        path: the archive, for messages.
        names: of its arrays.

    Returns:
        One part, or one for each group of arrays, training ones first.

    Raises:
        DataCorrupt: no names that are known, or test inputs without labels.

    """
    for layout in HALVES:
        if layout[0][1] in names:
            parts = [_part(half, x, y, names, _group(x)) for half, x, y in layout if x in names]
            unanswered = [part.x for part in parts if part.half == "test" and part.y is None]
            if unanswered:
                labels = next(y for _, x, y in layout if x == unanswered[0])
                raise DataCorrupt(
                    f"npz:{path}: {unanswered[0]} has no array {labels}; test samples need labels: add it"
                )
            return parts
    for x in INPUTS:
        if x in names:
            usual = LABELS if len(x) == 1 else ("labels", *LABELS)
            return [_part(None, x, next((y for y in usual if y in names), "y"), names, "")]
    raise DataCorrupt(f"npz:{path}: expected the arrays {NAMES}; it has {listed(sorted(names), 8) or 'none'}")


def _group(x: str) -> str:
    """Return which group of samples an array is of: train, val or test."""
    return x.removeprefix("x_").removesuffix("_images")


def _part(half: Any, x: str, y: str, names: Collection[str], suffix: str) -> Part:
    shown = [f"{name}_{suffix}" for name in SHOWN] if suffix else list(SHOWN)
    return Part(half, x, y if y in names else None, next((name for name in shown if name in names), None))


def array_names(path: Path) -> list[str]:
    """Return the names of an archive's arrays.

    Args:
        path: the archive.

    Raises:
        DataNotFound: no such file.
        DataCorrupt: it is no archive.

    """
    if not path.is_file():
        raise DataNotFound(f"npz:{path} is no file; give the path of an archive that numpy.savez wrote")
    return _reading(path, lambda: npz.array_names(path))


def read_arrays(path: Path, names: list[str], memory_limit: int | None) -> dict[str, NDArray[Any]]:
    """Read the arrays that are asked for, within what they may take.

    Args:
        path: the archive.
        names: of the arrays.
        memory_limit: bytes that they may take; None for the memory that is free.

    Raises:
        DataCorrupt: damage, or Python objects.
        TrainerError: they take more.

    """
    return _reading(path, lambda: npz.read_arrays(path, names, memory_limit))


def _reading(path: Path, read: Callable[[], Read]) -> Read:
    try:
        return read()
    except npz.ArchiveTooLarge as error:
        raise TrainerError(f"npz:{path}: {error}; save fewer or smaller images, as uint8") from error
    except (OSError, npz.ArchiveError) as error:
        if "allow_pickle" in str(error):
            raise DataCorrupt(
                f"npz:{path} holds Python objects, which are never loaded; save numbers, and text with .astype(str)"
            ) from error
        reason = f"npz:{path} is not an archive that numpy.savez wrote ({why(error)}); write it again"
        raise DataCorrupt(reason) from error
