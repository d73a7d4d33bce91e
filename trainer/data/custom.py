"""A user's own images: what can be chosen, how a test half is drawn, and the constants that normalise them."""

import hashlib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from trainer.data.arrays import DataSet, Split
from trainer.errors import TrainerError

Mode = Literal["auto", "rgb", "grey"]
BYTE_SCALE = 255.0
CHUNK_BYTES = 2**22  # looked at in one piece when an array is counted or compared


@dataclass(frozen=True)
class ImageOptions:
    """How a user's own images are read; registered data sets have no use for it.

    Args:
        image_size: ``N`` or ``HxW`` in pixels; every image is scaled to cover it and cropped to its centre. None takes
            images that all have one size as they are.
        mode: ``rgb`` or ``grey``; ``auto`` is grey when no image has a colour.
        test_fraction: share of the images that becomes the test half, where the data does not say which are.
        skip_bad: leave out images that cannot be read, instead of refusing all.

    Raises:
        TrainerError: a value that makes no sense.

    """

    image_size: int | str | None = None
    mode: Mode = "auto"
    test_fraction: float = 0.2
    skip_bad: bool = False

    def __post_init__(self) -> None:
        if self.size:
            object.__setattr__(self, "image_size", "{}x{}".format(*self.size))  # one spelling for one size
        if self.mode not in get_args(Mode):
            raise TrainerError(f"mode: expected one of {', '.join(get_args(Mode))}, got {self.mode!r}")
        if not 0 < self.test_fraction < 1:
            raise TrainerError(
                f"test_fraction: expected a share between 0 and 1, such as 0.2, got {self.test_fraction}"
            )

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
        fraction: share wanted; at least one sample is drawn and at least one left.

    Returns:
        Boolean ``[N]``, true for the test half.

    """
    order = sorted(range(len(names)), key=lambda i: hashlib.sha256(names[i].encode(errors="surrogateescape")).digest())
    test = np.zeros(len(names), np.bool_)
    test[order[: min(max(round(fraction * len(names)), 1), len(names) - 1)]] = True
    return test


def channel_constants(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of every channel, bytes divided by 255, from exact counts of each value.

    Args:
        images: uint8 ``[N, C, H, W]``.

    Returns:
        Means ``[C]`` and standard deviations ``[C]``; a channel of one value gets the deviation 1.

    """
    n, channels = images.shape[:2]
    counts = np.zeros((channels, 256))
    step = max(1, CHUNK_BYTES // max(1, images[:1].size))
    for start in range(0, n, step):
        for channel in range(channels):
            counts[channel] += np.bincount(images[start : start + step, channel].ravel(), minlength=256)
    value = np.arange(256) / BYTE_SCALE
    total = counts.sum(axis=1)
    mean = counts @ value / total  # [C]
    std = np.sqrt((counts * (value - mean[:, None]) ** 2).sum(axis=1) / total)  # [C]
    return tuple(mean.tolist()), tuple(float(s) if s > 0 else 1.0 for s in std)


def assemble(
    kind: str,
    classes: tuple[str, ...],
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    n_train: int,
    *,
    paths: tuple[str, ...] | None = None,
    notes: tuple[str, ...] = (),
) -> DataSet:
    """Put a data set together, training images first, and say what a user should know about its classes.

    Args:
        kind: the data set's name.
        classes: class names; the position is the label.
        images: uint8 ``[N, C, H, W]``.
        labels: ``[N]``.
        n_train: how many of them are training images.
        paths: where each image came from.
        notes: what the reader of the images has to say.

    Raises:
        TrainerError: fewer than two classes.

    """
    if len(classes) < 2:
        raise TrainerError(f"{kind}: expected images of at least two classes, found only {classes[0]!r}; add another")
    halves = {"train": slice(0, n_train), "test": slice(n_train, None)}
    for half, what in (("train", "nothing can be learned about it"), ("test", "its accuracy cannot be measured")):
        absent = [name for label, name in enumerate(classes) if not (labels[halves[half]] == label).any()]
        if absent:
            notes = (*notes, f"no image of the {half} half shows {listed(absent)}: {what}")
    mean, std = channel_constants(images[:n_train])
    return DataSet(
        name=kind,
        classes=classes,
        train=Split(images[:n_train], labels[:n_train]),
        test=Split(images[n_train:], labels[n_train:]),
        scale=BYTE_SCALE,
        mean=mean,
        std=std,
        paths=None if paths is None else (paths[:n_train], paths[n_train:]),
        notes=notes,
    )


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
    height, width = size
    need = count * channels * height * width
    if need <= limit:
        return
    scale = math.sqrt(limit / need)
    small = int(height * scale), int(width * scale)
    advice = f"--image-size {small[0]}x{small[1]} would fit" if min(small) >= 1 else "use fewer of them"
    raise TrainerError(
        f"{count:,} images of {channels}x{height}x{width} take {need / 2**30:.2f} GiB, more than the "
        f"{limit / 2**30:.2f} GiB that they may: {advice}"
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
