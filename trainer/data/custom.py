"""A user's own images: what can be chosen, how a test half is drawn, and the constants that normalise them."""

import hashlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from common.naming import one_of
from trainer.data.arrays import DataSet, Split
from trainer.data.by_id import ArrayRows, Stored
from trainer.data.constants import BYTE_SCALE, constants, require_variety
from trainer.data.labels import UNLABELLED, class_names, left_out_names, means_unlabelled, written_alike
from trainer.errors import TrainerError

Mode = Literal["auto", "rgb", "grey"]


@dataclass(frozen=True)
class ImageOptions:
    """How a user's own images are read; registered data sets have no use for it.

    Args:
        image_size: ``N`` or ``HxW`` in pixels; every image is scaled to cover it and cropped to its centre. None takes
            images that all have one size as they are.
        mode: ``rgb`` or ``grey``; ``auto`` is grey when no image has a colour.
        test_fraction: share of the labelled images that becomes the test half, where the data does not say which are;
            0 leaves the test half empty.
        skip_bad: leave out images that cannot be read, instead of refusing all.
        classes: names of the classes, ``cat,dog`` or a list; None takes those that the labels have.
        stratified: take that share of each class for the test half, not of all images together.
        leave_out: names of classes, likewise, whose images are left out altogether; None leaves none out.

    Raises:
        TrainerError: a value that makes no sense.

    """

    image_size: int | str | None = None
    mode: Mode = "auto"
    test_fraction: float = 0.2
    skip_bad: bool = False
    classes: str | Sequence[Any] | None = None
    stratified: bool = False
    leave_out: str | Sequence[Any] | None = None

    def __post_init__(self) -> None:
        if self.size:
            object.__setattr__(self, "image_size", "{}x{}".format(*self.size))  # one spelling for one size
        if self.mode not in get_args(Mode):
            raise TrainerError(f"mode: {one_of(self.mode, get_args(Mode))}")
        if not 0 <= self.test_fraction < 1:
            raise TrainerError(
                f"test_fraction: expected a share between 0 and 1, such as 0.2, got {self.test_fraction}"
            )
        if self.classes is not None:
            object.__setattr__(self, "classes", class_names(self.classes))
        if self.leave_out is not None:
            object.__setattr__(self, "leave_out", left_out_names(self.leave_out))
        both = sorted(set(self.names or ()) & set(self.left_out))
        if both:
            raise TrainerError(f"leave_out: expected names that are none of the classes, got {listed(both)} in both")

    @property
    def names(self) -> tuple[str, ...] | None:
        """Names of the classes, where they are given."""
        return None if self.classes is None else tuple(self.classes)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of the classes that are left out."""
        return () if self.leave_out is None else tuple(self.leave_out)

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) in pixels, or None where images keep theirs."""
        if self.image_size is None:
            return None
        found = re.fullmatch(r"0*([1-9]\d{0,4})(?:x0*([1-9]\d{0,4}))?", str(self.image_size).strip(), re.ASCII)
        if not found:
            raise TrainerError(
                f"image_size: expected a side in pixels such as 32, or HEIGHTxWIDTH such as 24x32; "
                f"got {self.image_size!r}"
            )
        return int(found[1]), int(found[2] or found[1])


def draw_test(names: Sequence[str], fraction: float) -> NDArray[np.bool_]:
    """Choose the samples of the test half: those whose names have the smallest SHA-256.

    The hash spreads like a uniform draw, but neither a run's seed nor a library's version has a part in it: every run
    on the same files has the same test half, whatever its seed, and a file that is added moves few others.

    Args:
        names: one for each sample, all different.
        fraction: share wanted; at least one sample is drawn and at least one left, but for a share of 0.

    Returns:
        Boolean ``[N]``, true for the test half.

    """
    order = sorted(range(len(names)), key=lambda i: hashlib.sha256(names[i].encode(errors="surrogateescape")).digest())
    test = np.zeros(len(names), np.bool_)
    if fraction > 0 and len(names) > 1:
        test[order[: min(max(round(fraction * len(names)), 1), len(names) - 1)]] = True
    return test


def draw_test_of_each(names: Sequence[str], labels: Sequence[Any], fraction: float) -> NDArray[np.bool_]:
    """Choose the samples of the test half from each class by itself, as ``draw_test`` does from all.

    Args:
        names: one for each sample, all different.
        labels: its class.
        fraction: share wanted of each class; a class of one sample gives none.

    Returns:
        Boolean ``[N]``, true for the test half.

    """
    of: dict[Any, list[int]] = {}
    for i, label in enumerate(labels):
        of.setdefault(label, []).append(i)
    test = np.zeros(len(names), np.bool_)
    for rows in of.values():
        test[rows] = draw_test([names[i] for i in rows], fraction)
    return test


def assemble(
    kind: str,
    classes: tuple[str, ...],
    images: Stored,
    labels: NDArray[np.int64],
    n_train: int,
    *,
    paths: tuple[str, ...] | None = None,
    root: Path | None = None,
    rows: tuple[ArrayRows, ArrayRows] | None = None,
    texts: tuple[str, ...] | None = None,
    notes: tuple[str, ...] = (),
    depth: tuple[int, int] = (0, 8),
    normal: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> DataSet:
    """Put a data set together, training images first, and say what a user should know about its classes.

    Args:
        kind: the data set's name.
        classes: class names; the position is the label.
        images: uint8 ``[N, C, H, W]`` or features, float32 ``[N, d, 1, 1]``.
        labels: ``[N]``; of the training images those without one come last.
        n_train: how many of them are training images.
        paths: where each image came from.
        root: the folder that the paths are relative to.
        rows: where each sample lies in a user's arrays, (training, test).
        texts: what a person reads of each sample.
        notes: what the reader of the images has to say.
        depth: how 16-bit greys became bytes, see ``DataSet``.
        normal: mean and standard deviation per channel of the training images, where they are known.

    Raises:
        TrainerError: fewer than two classes, and nothing without a label that may be of another.

    """
    incomplete = bool((labels[:n_train] == UNLABELLED).any())
    where = "" if root is None else f"{root}: "
    if len(classes) < 2 and not incomplete:
        unlabelled = "".join(
            f" ({note})" for note in notes if "no label" in note
        )  # which a class may have been taken for
        raise TrainerError(
            f"{where}expected samples of at least two classes, found only {classes[0]!r}{unlabelled}; add another, or "
            f"name all of them (--classes cat,dog){': other folders are no classes then' if kind == 'folder' else ''}"
        )
    if not classes:
        notes = (*notes, "no class has a name yet: name them, such as --classes cat,dog")
    notes = (*notes, *written_alike(classes))
    train, test = labels[:n_train], labels[n_train:]
    useless = "nothing can be learned about it" + " before one is labelled" * incomplete
    for half, present, what in (("train", train, useless), ("test", test, "its accuracy cannot be measured")):
        absent = [name for label, name in enumerate(classes) if not (present == label).any()]
        if absent and (present != UNLABELLED).any():
            notes = (*notes, f"no image of the {half} half shows {listed(absent)}: {what}")
    features = images.dtype == np.float32
    require_variety(where, images[:n_train])
    mean, std = normal or constants(images[:n_train])
    return DataSet(
        name=kind,
        classes=classes,
        train=Split(images[:n_train], train),
        test=Split(images[n_train:], test),
        scale=1.0 if features else BYTE_SCALE,
        mean=mean,
        std=std,
        paths=None if paths is None else (paths[:n_train], paths[n_train:]),
        said=notes,
        root=root,
        rows=rows,
        texts=None if texts is None else (texts[:n_train], texts[n_train:]),
        depth=depth,
    )


def require_labels(what: str, unlabelled: int) -> TrainerError:
    """Return the error that says that data has no label at all, where labels are needed.

    Args:
        what: names the data.
        unlabelled: how many samples it has.

    """
    return TrainerError(
        f"{what}: {counted(unlabelled, 'sample')} and no label, but here labels are needed, as nobody is asked for "
        "them; label some (class folders, labels.csv, or the array of labels)"
    )


def unlabelled_note(what: str, total: int, reasons: Mapping[str, int], left_out: bool) -> str:
    """Return the sentence that counts what has no label.

    Args:
        what: names the samples.
        total: how many there are, labelled or not.
        reasons: why they have no label, and how many.
        left_out: whether they are left out.

    """
    why = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
    gone = " and are left out" * left_out
    marked = any(means_unlabelled(name, None) for name in re.findall(r"'([^']*)'", why))
    remedy = "; if such a mark is a class, name it with --classes" * marked
    return f"{sum(reasons.values()):,} of {total:,} {what} have no label{gone}: {why}{remedy}"


def require_memory(count: int, channels: int, size: tuple[int, int], limit: int | None) -> None:
    """Refuse images that would not fit into memory, before any of them is decoded.

    Args:
        count: number of images.
        channels: of each.
        size: (height, width) of each.
        limit: bytes that they may take together; None means half of the machine's memory.

    Raises:
        TrainerError: they take more; the message says which size would fit.

    """
    limit = limit or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    require_room(count, channels, size, limit, "they may")


def require_room(count: int, channels: int, size: tuple[int, int], limit: int, what: str) -> None:
    """Refuse images that take more bytes than there are.

    Args:
        count: number of images.
        channels: of each.
        size: (height, width) of each.
        limit: bytes that they may take together.
        what: says in the message what these bytes are: "more than the 2 GiB that ...".

    Raises:
        TrainerError: they take more; the message says which size would fit.

    """
    height, width = size
    need = count * channels * height * width
    if need <= limit:
        return
    scale = math.sqrt(limit / need)
    small = int(height * scale), int(width * scale)
    advice = f"--image-size {small[0]}x{small[1]} would fit" if min(small) >= 1 else "use fewer of them"
    raise TrainerError(
        f"{count:,} images of {channels}x{height}x{width} take {need / 2**30:.2f} GiB, more than the "
        f"{limit / 2**30:.2f} GiB that {what}: {advice}"
    )


def counted(number: int, what: str) -> str:
    """Count in words: ``1 file``, ``2 files``.

    Args:
        number: how many.
        what: one of them.

    """
    return f"{number:,} {what}{'s' * (number != 1)}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Return the first few names, and how many more there are.

    Args:
        names: what is listed.
        most: how many are shown.

    """
    shown = ", ".join(map(repr, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
