"""``npz:PATH``: a user's own images or features as arrays in one NumPy archive; nothing in it is ever executed."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.npz import ArchiveError, array_shape
from trainer.data.archive import Part, array_names, find_parts, read_arrays
from trainer.data.array_forms import Labels, Named, number_classes, read_inputs, read_labels, read_texts, strange_number
from trainer.data.arrays import DataSet
from trainer.data.by_id import ArrayRows, Stored
from trainer.data.constants import CHUNK_BYTES
from trainer.data.custom import (
    ImageOptions,
    assemble,
    counted,
    draw_test,
    draw_test_of_each,
    listed,
    require_labels,
    unlabelled_note,
)
from trainer.errors import TrainerError

CLASSES = "classes"


def load_npz(
    path: Path, options: ImageOptions, memory_limit: int | None = None, labelled_only: bool = False
) -> DataSet:
    """Read arrays X, y and draw a test half from the rows with a label, or read arrays of given halves.

    Images are ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]`` with 1 or 3 channels: integers from 0 to 255, or
    floats from 0 to 1, which become the nearest of 256 steps. ``[N, d]`` are features of anything, kept in float32.
    Labels are integers or text ``[N]``, or there are none; an array ``classes`` of text may name the classes 0, 1, ...
    Mean and standard deviation are the training half's, whose samples are in the order of the archive, those with a
    label first. Source: Yang et al. 2023 for MedMNIST's names.

    Args:
        path: the archive.
        options: test share and classes; size, colours and bad files are decided by whoever wrote the arrays.
        memory_limit: bytes that the unpacked arrays may take; None for the memory that is free.
        labelled_only: leave out what has no label.

    Returns:
        The data set; its samples have no paths, but the rows that they are.

    Raises:
        DataNotFound: no such file.
        DataCorrupt: no archive of plain arrays.
        TrainerError: anything else that makes no data set, in one line.

    """
    _refuse_file_options(options)
    names = array_names(path)
    parts = find_parts(path, names)
    wanted = [name for part in parts for name in part.names] + [CLASSES] * (CLASSES in names)
    arrays = read_arrays(path, wanted, memory_limit)
    notes = []
    if unused := sorted(set(names) - set(wanted)):
        notes.append(f"npz:{path}: no use is made of {listed(unused, 8)}")
    if joined := [part.x for part in parts[1:] if part.half == "train"]:
        notes.append(f"npz:{path}: {', '.join(joined)} are training samples here, after those of {parts[0].x}")
    try:
        return _data_set(path, parts, arrays, options, labelled_only, notes)
    except TrainerError as error:
        raise type(error)(f"npz:{path}: {error}") from error


def holds_features(path: Path) -> bool:
    """Whether an archive has features ``[N, d]`` and no images, by the header of its first array.

    Args:
        path: the archive; of one that cannot be read, or is no data set, ``load_npz`` will say so.

    """
    try:
        return len(array_shape(path, find_parts(path, array_names(path))[0].x)) == 2
    except (TrainerError, ArchiveError, OSError):
        return False


def _refuse_file_options(options: ImageOptions) -> None:
    for name in ("image_size", "mode", "skip_bad", "leave_out"):
        if getattr(options, name) != getattr(ImageOptions(), name):
            raise TrainerError(f"{name} is for image files (folder:PATH); convert the arrays before they are saved")


def _data_set(
    path: Path,
    parts: list[Part],
    arrays: dict[str, NDArray[Any]],
    options: ImageOptions,
    labelled_only: bool,
    notes: list[str],
) -> DataSet:
    inputs, said = read_inputs([Named(part.x, arrays.pop(part.x)) for part in parts])
    sizes = [len(x) for x in inputs]
    named = _names(arrays.get(CLASSES), options)
    labels = [_labels(part, arrays, n, named) for part, n in zip(parts, sizes, strict=True)]
    classes, numbers = number_classes(labels, named)
    known = np.concatenate([part.known for part in labels])
    array = np.repeat(np.arange(len(parts)), sizes)
    row = np.concatenate([np.arange(n) for n in sizes])
    test = _test(parts, known, numbers, array, options)
    marks = sum((part.marks for part in labels), Counter[str]())
    notes += strange_number(classes) if named is None else ()
    if marks:
        notes.append(unlabelled_note(f"samples of npz:{path}", len(known), marks, labelled_only))
    if labelled_only and not known.any():
        raise require_labels(", ".join(part.x for part in parts), len(known))
    order = np.lexsort((~known, test))  # training samples first, of these the labelled ones; else as in the archive
    order = order[known[order]] if labelled_only else order
    n_train = int((~test[order]).sum())
    where = tuple(part.x for part in parts)
    rows = [ArrayRows(path.name, where, array[half], row[half]) for half in (order[:n_train], order[n_train:])]
    texts = _texts(parts, arrays, sizes)
    return assemble(
        "npz",
        classes,
        _gathered(inputs, array[order], row[order]),
        numbers[order],
        n_train,
        rows=(rows[0], rows[1]),
        texts=None if texts is None else tuple(texts[position] for position in order),
        notes=(*notes, *said),
    )


def _gathered(inputs: list[Stored], array: NDArray[np.int64], row: NDArray[np.int64]) -> Stored:
    """Return the rows that are asked for, of several arrays, in order; no more is held than these and the arrays."""
    out = np.empty((len(row), *inputs[0].shape[1:]), inputs[0].dtype)
    step = max(1, CHUNK_BYTES // max(1, out[:1].nbytes))
    for start in range(0, len(row), step):
        wanted = slice(start, start + step)
        for number, x in enumerate(inputs):
            here = array[wanted] == number
            out[wanted][here] = x[row[wanted][here]]
    return out


def _names(stored: NDArray[Any] | None, options: ImageOptions) -> tuple[str, ...] | None:
    """Return the names of the classes, from the archive or the options."""
    if stored is None:
        return options.names
    names = tuple(str(name) for name in stored.ravel()) if stored.dtype.kind == "U" else ()
    if not names or len(set(names)) != len(names):
        raise TrainerError(f"classes: expected names that all differ, text [C], got {stored.dtype} of them")
    if options.names not in (None, names):
        raise TrainerError(f"classes: the archive names {listed(names)}, --classes {listed(options.names or ())}")
    return names


def _labels(part: Part, arrays: dict[str, NDArray[Any]], n: int, classes: tuple[str, ...] | None) -> Labels:
    if part.y is None:
        return Labels(np.full(n, -1), np.zeros(n, np.bool_), Counter({f"without an array of labels for {part.x}": n}))
    labels = read_labels(part.y, arrays[part.y], n, classes)
    if part.half == "test" and not labels.known.all():
        raise TrainerError(
            f"{part.y}: {counted(int((~labels.known).sum()), 'test sample')} of {n} have no label "
            f"({', '.join(labels.marks)}), but test samples need one; label them or remove them"
        )
    return labels


def _test(
    parts: list[Part],
    known: NDArray[np.bool_],
    numbers: NDArray[np.int64],
    array: NDArray[np.int64],
    options: ImageOptions,
) -> NDArray[np.bool_]:
    """Tell which samples are of the test half; where it is drawn, from those with a label."""
    if parts[0].half is not None:
        return np.isin(array, [position for position, part in enumerate(parts) if part.half == "test"])
    if len(known) < 2:
        raise TrainerError("it holds one sample; expected at least one to train and one to test on")
    test = np.zeros(len(known), np.bool_)
    labelled = np.flatnonzero(known)
    names, share = [str(position) for position in labelled], options.test_fraction
    each = options.stratified
    drawn = draw_test_of_each(names, numbers[labelled].tolist(), share) if each else draw_test(names, share)
    test[labelled[drawn]] = True
    return test


def _texts(parts: list[Part], arrays: dict[str, NDArray[Any]], sizes: list[int]) -> list[str] | None:
    """Return what is shown of each sample, nothing where only some arrays have it; None without any."""
    if all(part.text is None for part in parts):
        return None
    texts = [
        read_texts(part.text, arrays[part.text], n) if part.text else ("",) * n
        for part, n in zip(parts, sizes, strict=True)
    ]
    return [text for part in texts for text in part]
