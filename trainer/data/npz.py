"""``npz:PATH``: a user's own images as arrays in one NumPy archive; nothing in it is ever executed."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.arrays import DataSet
from trainer.data.custom import ImageOptions, assemble, draw_test, listed
from trainer.errors import DataCorrupt, DataNotFound, TrainerError

HALVES = ("x_train", "y_train", "x_test", "y_test")
WHOLE = (("X", "y"), ("x", "y"), ("images", "labels"))
NAMES = "x_train, y_train, x_test, y_test, or X, y, or images, labels"
CHANNELS = (1, 3)


def load_npz(path: Path, options: ImageOptions, memory_limit: int | None = None) -> DataSet:
    """Read the arrays x_train, y_train, x_test, y_test, or X, y (or images, labels) and draw a test half from these.

    Images are ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]`` with 1 or 3 channels: integers from 0 to 255, or
    floats from 0 to 1, which become the nearest of 256 steps. Labels are integers or text ``[N]``; an array ``classes``
    of text may name the classes 0, 1, ... Mean and standard deviation are the training half's.

    Args:
        path: the archive.
        options: test share; size, colours and bad files are decided by whoever wrote the arrays.
        memory_limit: bytes that the unpacked arrays may take; None sets no limit.

    Returns:
        The data set; its images have no paths.

    Raises:
        DataNotFound: no such file.
        DataCorrupt: no archive of plain arrays.
        TrainerError: anything else that makes no data set, in one line.

    """
    _refuse_file_options(options)
    arrays = _arrays(path, memory_limit)
    if set(HALVES) <= arrays.keys():
        parts = [(arrays[f"x_{half}"], arrays[f"y_{half}"], half) for half in ("train", "test")]
    else:
        names = next((pair for pair in WHOLE if set(pair) <= arrays.keys()), None)
        if names is None:
            raise DataCorrupt(f"npz:{path}: expected the arrays {NAMES}; it has {listed(sorted(arrays), 8)}")
        parts = [(arrays[names[0]], arrays[names[1]], "")]
    images = [_images(f"npz:{path}: {_named(names_of, 'x')}", x) for x, _, names_of in parts]
    labels = [_text_or_int(f"npz:{path}: {_named(names_of, 'y')}", y, len(x)) for x, y, names_of in parts]
    if len(images) == 2 and images[0].shape[1:] != images[1].shape[1:]:
        shapes = [list(part.shape[1:]) for part in images]
        raise TrainerError(f"npz:{path}: training images are {shapes[0]} but test images {shapes[1]}; make them alike")
    classes, numbers = _classes(path, labels, arrays.get("classes"))
    return _data_set(path, images, numbers, classes, options)


def _refuse_file_options(options: ImageOptions) -> None:
    for name in ("image_size", "mode", "skip_bad"):
        if getattr(options, name) != getattr(ImageOptions(), name):
            raise TrainerError(f"{name} is for image files (folder:PATH); convert the arrays before they are saved")


def _named(half: str, letter: str) -> str:
    return f"{letter}_{half}" if half else {"x": "images", "y": "labels"}[letter]


def _arrays(path: Path, memory_limit: int | None) -> dict[str, NDArray[Any]]:
    """Read every array of the archive, nothing unpickled."""
    if not path.is_file():
        raise DataNotFound(f"npz:{path} is no file; give the path of an archive that numpy.savez wrote")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if memory_limit is not None and size > memory_limit:
            raise TrainerError(
                f"npz:{path} unpacks to {size / 2**30:.2f} GiB, more than the {memory_limit / 2**30:.2f} GiB that it "
                "may take; save fewer or smaller images, as uint8"
            )
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except TrainerError:
        raise
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        if "allow_pickle" in str(error):
            raise DataCorrupt(
                f"npz:{path} holds Python objects, which are never loaded; save numbers, and text with .astype(str)"
            ) from error
        reason = " ".join(str(error).split())
        raise DataCorrupt(f"npz:{path} is not an archive that numpy.savez wrote ({reason}); write it again") from error


def _images(what: str, x: NDArray[Any]) -> NDArray[np.uint8]:
    """Return bytes ``[N, C, H, W]`` from any of the accepted forms."""
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[3] in CHANNELS and x.shape[1] not in CHANNELS:
        x = x.transpose(0, 3, 1, 2)
    if x.ndim != 4 or x.shape[1] not in CHANNELS or 0 in x.shape:
        raise TrainerError(
            f"{what}: expected [N, H, W], [N, H, W, C] or [N, C, H, W] with 1 or 3 channels, got {list(x.shape)}"
        )
    if x.dtype == np.bool_:
        return np.ascontiguousarray(x).astype(np.uint8) * np.uint8(255)
    if x.dtype.kind not in "uif":
        raise TrainerError(f"{what}: expected numbers, got {x.dtype}; save uint8")
    low, high = x.min(), x.max()
    top = 1 if x.dtype.kind == "f" else 255
    if not (low >= 0 and high <= top):  # NaN too
        raise TrainerError(
            f"{what}: expected integers from 0 to 255 or floats from 0 to 1, got {x.dtype} from {low:g} to {high:g}; "
            "scale them to 0..255 and save uint8 (the run normalises by itself)"
        )
    return np.ascontiguousarray(np.rint(x * 255) if top == 1 else x).astype(np.uint8)


def _text_or_int(what: str, y: NDArray[Any], n: int) -> NDArray[Any]:
    """Return labels as int64 or text ``[N]``."""
    if y.dtype.kind == "S":
        y = np.char.decode(y, "utf-8", "replace")
    if y.shape != (n,) or y.dtype.kind not in "uiU":
        raise TrainerError(
            f"{what}: expected a label for each of {n} images, integers or text [{n}], got {y.dtype} {list(y.shape)}; "
            "turn one-hot rows into class numbers with .argmax(1)"
        )
    return y if y.dtype.kind == "U" else y.astype(np.int64)


def _classes(
    path: Path, labels: list[NDArray[Any]], named: NDArray[Any] | None
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return class names in order, and every sample's position in them, training half first."""
    if len({part.dtype.kind for part in labels}) > 1:
        raise TrainerError(f"npz:{path}: one half's labels are text, the other's integers; make them alike")
    joined = np.concatenate(labels)
    if named is None:
        values, numbers = np.unique(joined, return_inverse=True)
        return tuple(str(value) for value in values), numbers.astype(np.int64)
    names = [str(name) for name in named.ravel()] if named.dtype.kind == "U" else []
    if not names or len(set(names)) != len(names):
        raise TrainerError(f"npz:{path}: classes: expected names that all differ, text [C], got {named.dtype} of them")
    if joined.dtype.kind == "U":
        strange = sorted({str(label) for label in joined} - set(names))
        if strange:
            raise TrainerError(f"npz:{path}: the labels {listed(strange)} are not among the array classes; add them")
        return tuple(names), np.array([names.index(label) for label in joined], np.int64)
    if joined.min() < 0 or joined.max() >= len(names):
        raise TrainerError(
            f"npz:{path}: classes names {len(names)}, so labels run from 0 to {len(names) - 1}; "
            f"got {joined.min()} to {joined.max()}"
        )
    return tuple(names), joined


def _data_set(
    path: Path,
    images: list[NDArray[np.uint8]],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    options: ImageOptions,
) -> DataSet:
    if len(images) == 2:
        return assemble("npz", classes, np.concatenate(images), labels, len(images[0]))
    if len(labels) < 2:
        raise TrainerError(f"npz:{path} holds one image; expected at least one to train and one to test on")
    test = draw_test([str(position) for position in range(len(labels))], options.test_fraction)
    order = np.argsort(test, kind="stable")  # training images first, each half in the order of the archive
    return assemble("npz", classes, images[0][order], labels[order], int((~test).sum()))
