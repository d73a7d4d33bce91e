"""The one form in which every data set reaches the rest of the project: uint8 images and int64 labels."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainer.errors import TrainerError

SplitName = Literal["train", "test"]


@dataclass(frozen=True)
class Split:
    """One half of a data set, as published: nothing normalised, nothing shuffled.

    Args:
        images: grey values or colours, uint8 ``[N, C, H, W]``.
        labels: class numbers, int64 ``[N]``.

    Raises:
        TrainerError: the arrays have another type or their shapes do not belong together.

    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise TrainerError(
                f"images must be uint8 [N, C, H, W], got {self.images.dtype} {list(self.images.shape)}; "
                "convert them before building a Split"
            )
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            raise TrainerError(
                f"labels must be int64 [{len(self.images)}], one per image, got {self.labels.dtype} "
                f"{list(self.labels.shape)}; give every image exactly one label"
            )

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class DataSet:
    """A classification data set held as bytes, with the constants that turn bytes into network inputs.

    Args:
        name: the name it is registered under.
        classes: class names; the position is the label.
        train: the published training half; ids are positions in it ("data-set absolute").
        test: the published test half, likewise.
        scale: the value a byte is divided by (255, or 16 for the digits).
        mean: per channel, of the training images after that division.
        std: standard deviation per channel, likewise.
        paths: for data made of files, each image's path relative to the data's root, (training, test).
        notes: what a user should know of how the data was read, one sentence each.

    Raises:
        TrainerError: the halves, labels or constants contradict each other.

    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    paths: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.train.images.shape[1:] != self.test.images.shape[1:]:
            raise TrainerError(
                f"{self.name}: training images have shape {list(self.train.images.shape[1:])} but test images "
                f"{list(self.test.images.shape[1:])}; both halves need the same"
            )
        channels = self.input_shape[0]
        if len(self.mean) != channels or len(self.std) != channels or min(self.std) <= 0 or self.scale <= 0:
            raise TrainerError(
                f"{self.name}: expected {channels} means, {channels} positive standard deviations and a positive "
                f"scale, got {self.mean}, {self.std}, {self.scale}; give one constant per channel"
            )
        for half, split in (("train", self.train), ("test", self.test)):
            if len(split) and not (split.labels.min() >= 0 and split.labels.max() < self.num_classes):
                raise TrainerError(
                    f"{self.name}: {half} labels run from {split.labels.min()} to {split.labels.max()} but there are "
                    f"{self.num_classes} classes; labels must be 0..{self.num_classes - 1}"
                )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one image."""
        channels, height, width = self.train.images.shape[1:]
        return int(channels), int(height), int(width)

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.classes)

    def inputs(self, split: SplitName, indices: ArrayLike | None = None) -> NDArray[np.float32]:
        """Return network inputs ``(images/scale - mean)/std``, computed for the asked images only.

        Args:
            split: "train" or "test".
            indices: ids within that half, integers ``[n]``; None means all of them.

        Returns:
            A fresh float32 array ``[n, C, H, W]``, in the order of ``indices``.

        Raises:
            TrainerError: unknown half, or ids that are not integers in range.

        """
        return self.view(split)(indices)

    def view(self, split: SplitName) -> "ImageView":
        """Return the images of one half without their labels, for whoever must not see these.

        Args:
            split: "train" or "test".

        Raises:
            TrainerError: unknown half.

        """
        what = f"{self.name} {split} ids"
        return ImageView(self._half(split).images, self.scale, self.mean, self.std, what)

    def labels(self, split: SplitName, indices: ArrayLike | None = None) -> NDArray[np.int64]:
        """Return labels of the asked images.

        Args:
            split: "train" or "test".
            indices: ids within that half, integers ``[n]``; None means all of them.

        Returns:
            A fresh int64 array ``[n]``.

        Raises:
            TrainerError: unknown half, or ids that are not integers in range.

        """
        half = self._half(split)
        return half.labels.copy() if indices is None else half.labels[self._checked(split, indices)]

    def sample_path(self, split: SplitName, index: int) -> str:
        """Say how a person finds one image: its file's path under the data's root, or ``name/half/id`` if it has none.

        Args:
            split: "train" or "test".
            index: id within that half.

        Raises:
            TrainerError: unknown half, or no such id.

        """
        [checked] = self._checked(split, [index])
        return f"{self.name}/{split}/{checked}" if self.paths is None else self.paths[split == "test"][checked]

    def fingerprint(self) -> str:
        """Hash everything that an experiment depends on: arrays, class names, normalisation and the files' paths.

        Returns:
            sha256 as 64 hexadecimal digits; computed once, then remembered.

        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        digest.update(repr((self.name, self.classes, float(self.scale), self.mean, self.std)).encode())
        for array in (self.train.images, self.train.labels, self.test.images, self.test.labels):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data.cast("B"))
        if self.paths is not None:
            digest.update(repr(self.paths).encode())
        return digest.hexdigest()

    def _half(self, split: str) -> Split:
        if split not in ("train", "test"):
            raise TrainerError(f"split must be 'train' or 'test', got {split!r}")
        return self.train if split == "train" else self.test

    def _checked(self, split: SplitName, indices: ArrayLike) -> NDArray[np.int64]:
        return check_ids(indices, len(self._half(split)), f"{self.name} {split} ids")


@dataclass(frozen=True)
class ImageView:
    """Normalised network inputs by id; holds no labels and no way to them.

    Args:
        images: uint8 ``[N, C, H, W]``.
        scale: what a byte is divided by.
        mean: per channel, as in ``DataSet``.
        std: per channel, as in ``DataSet``.
        what: how messages name the ids.

    """

    images: NDArray[np.uint8]
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
