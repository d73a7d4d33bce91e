"""The one form in which every data set reaches the rest of the project: images or features, and labels where known."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.arrays import read_only
from trainer.data.by_id import ArrayRows, ImageView, Stored, check_ids
from trainer.data.copies import doubtful_samples
from trainer.data.labels import UNLABELLED
from trainer.data.listed import Listed
from trainer.errors import TrainerError

SplitName = Literal["train", "test"]


@dataclass(frozen=True)
class Split:
    """One half of a data set, as published: nothing normalised, nothing shuffled.

    Args:
        images: grey values or colours, uint8 ``[N, C, H, W]``; or features of anything, float32 ``[N, d, 1, 1]``.
        labels: class numbers, int64 ``[N]``; ``UNLABELLED`` where there is none.

    Raises:
        TrainerError: the arrays have another type or their shapes do not belong together.

    """

    images: Stored
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        features = self.images.dtype == np.float32 and self.images.shape[2:] == (1, 1)
        if self.images.ndim != 4 or not (self.images.dtype == np.uint8 or features):
            raise TrainerError(
                f"images must be uint8 [N, C, H, W], or features float32 [N, d, 1, 1], got {self.images.dtype} "
                f"{list(self.images.shape)}; convert them before building a Split"
            )
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            raise TrainerError(
                f"labels must be int64 [{len(self.images)}], one per image, got {self.labels.dtype} "
                f"{list(self.labels.shape)}; give every image exactly one label"
            )
        for name in ("images", "labels"):  # whoever is shown them changes them for nobody else
            object.__setattr__(self, name, read_only(getattr(self, name)))

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Embedded:
    """Of which images a data set holds features, and what made them.

    Args:
        images: the data set of the images.
        backbone: name of the network.
        sha256: digest of its weights.
        size: (height, width) that it sees.

    """

    images: "DataSet"
    backbone: str
    sha256: str
    size: tuple[int, int]

    def fingerprint(self, classes: tuple[str, ...]) -> str:
        """Hash what the features are made from: their last digits may differ between machines.

        Args:
            classes: names of the classes.

        """
        made_from = (self.images.fingerprint(), self.sha256, self.size, classes)
        return hashlib.sha256(repr(("features", *made_from)).encode()).hexdigest()  # scaled otherwise: another word


@dataclass(frozen=True)
class DataSet:
    """A classification data set held as it is stored, with the constants that turn it into network inputs.

    Training samples may lack a label, and the test half may be empty; what is in it has labels. Where some lack one,
    those that have one come first, so that their ids do not depend on whether the others are kept.

    Args:
        name: the name it is registered under.
        classes: class names; the position is the label. None yet where nothing names them.
        train: the published training half; ids are positions in it ("data-set absolute").
        test: the published test half, likewise.
        scale: the value a byte is divided by (255, or 16 for the digits; 1 for features).
        mean: per channel, of the training images after that division.
        std: standard deviation per channel, likewise.
        paths: for data made of files, each image's path relative to the data's root, (training, test).
        said: what a user should know of how the data was read, one sentence each.
        root: for data made of files, the folder that the paths are relative to.
        rows: for data made of arrays, where each sample lies in them, (training, test).
        texts: what is shown of each sample to a person who labels, (training, test); None shows the image.
        depth: for data made of files, how 16-bit greys became bytes: value v became (v - first) / 2^second.
        listed: for data made of files, how they were listed, by which they can be read so again.
        embedded: for features that a backbone made of images, of which and by what.

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
    said: tuple[str, ...] = ()
    root: Path | None = None
    rows: tuple[ArrayRows, ArrayRows] | None = None
    texts: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    depth: tuple[int, int] = (0, 8)
    listed: Listed | None = None
    embedded: Embedded | None = None

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
        for half, split, least in (("train", self.train, UNLABELLED), ("test", self.test, 0)):
            if len(split) and not (split.labels.min() >= least and split.labels.max() < self.num_classes):
                raise TrainerError(
                    f"{self.name}: {half} labels run from {split.labels.min()} to {split.labels.max()} but there are "
                    f"{self.num_classes} classes; labels must be 0..{self.num_classes - 1}, and a test image needs one"
                )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one image."""
        channels, height, width = self.train.images.shape[1:]
        return int(channels), int(height), int(width)

    @property
    def num_classes(self) -> int:
        """Number of classes C; 0 where nothing names them yet."""
        return len(self.classes)

    @property
    def holds_features(self) -> bool:
        """Whether the samples are vectors of features, which cannot be shown, and not images."""
        return self.train.images.dtype != np.uint8

    @property
    def pictures(self) -> "DataSet":
        """The data set that can be shown: of features that a backbone made of images, these; else this one."""
        return self if self.embedded is None else self.embedded.images

    @property
    def labelled_ids(self) -> NDArray[np.int64]:
        """Ids ``[L]`` of the training samples that have a label, ascending."""
        return np.flatnonzero(self.train.labels != UNLABELLED)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What a user should know before anything is trained: ``said``, and what looking at each own sample shows."""
        own = self.paths is not None or self.rows is not None
        return (*self.said, *doubtful_samples(self.pictures)) if own else self.said

    def require_classes(self) -> None:
        """Refuse data whose classes are not known yet, where a network is to be trained.

        Raises:
            TrainerError: fewer than two classes.

        """
        if self.num_classes < 2:
            has = f"only the class {self.classes[0]!r}" if self.classes else "no class"
            raise TrainerError(
                f"{self.name}: {len(self.train):,} training samples, of which {len(self.labelled_ids):,} have a label, "
                f"and {has}; name the classes (--classes cat,dog) and label samples of each"
            )

    def require_augmentable(self, augment: str) -> None:
        """Refuse to change features as if they were images.

        Args:
            augment: a name of ``trainer.data.augment.AUGMENTATIONS``.

        Raises:
            TrainerError: features, and anything but "none".

        """
        if self.holds_features and augment != "none":
            raise TrainerError(f"{self.name}: augment {augment} is for images, but these are features; set it to none")

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

    def view(self, split: SplitName) -> ImageView:
        """Return the images of one half without their labels, for whoever must not see these.

        Args:
            split: "train" or "test".

        Raises:
            TrainerError: unknown half.

        """
        what = f"{self.name} {split} ids"
        return ImageView(self._half(split).images, self.scale, self.mean, self.std, what)

    def labels(self, split: SplitName, indices: ArrayLike | None = None) -> NDArray[np.int64]:
        """Return labels of the asked images, each of which must have one.

        Args:
            split: "train" or "test".
            indices: ids within that half, integers ``[n]``; None means all of them.

        Returns:
            A fresh int64 array ``[n]``.

        Raises:
            TrainerError: unknown half, ids that are not integers in range, or one that has no label.

        """
        half = self._half(split)
        ids = np.arange(len(half)) if indices is None else self._checked(split, indices)
        labels = half.labels[ids]
        missing = ids[labels == UNLABELLED]
        if len(missing):
            raise TrainerError(
                f"{self.name}: {len(missing)} of {len(ids)} samples have no label, such as "
                f"{self.sample_path(split, missing[0])} (id {missing[0]}); label them or leave them out"
            )
        return labels

    def sample_path(self, split: SplitName, index: int) -> str:
        """Say how a person finds one sample in what the user gave: its file's path, or the row of an array.

        Args:
            split: "train" or "test".
            index: id within that half.

        Returns:
            A path under the data's root; ``FILE.npz#ARRAY[ROW]``; or ``name/half/id`` for registered data.

        Raises:
            TrainerError: unknown half, or no such id.

        """
        [checked] = self._checked(split, [index])
        if self.paths is not None:
            return self.paths[split == "test"][checked]
        return f"{self.name}/{split}/{checked}" if self.rows is None else self.rows[split == "test"].name(checked)

    def sample_file(self, split: SplitName, index: int) -> Path | None:
        """Return the file of one image; None where samples are no files.

        Args:
            split: "train" or "test".
            index: id within that half.

        Raises:
            TrainerError: unknown half, or no such id.

        """
        name = self.sample_path(split, index)
        return None if self.root is None or self.paths is None else self.root / name

    def sample_text(self, split: SplitName, index: int) -> str | None:
        """Return what a person reads of one sample; None where there is no text.

        Args:
            split: "train" or "test".
            index: id within that half.

        Raises:
            TrainerError: unknown half, or no such id.

        """
        [checked] = self._checked(split, [index])
        return None if self.texts is None else self.texts[split == "test"][checked]

    def fingerprint(self) -> str:
        """Hash everything that an experiment depends on: arrays, class names, normalisation, files' paths and texts.

        Returns:
            sha256 as 64 hexadecimal digits; computed once, then remembered.

        """
        return self._fingerprint

    @cached_property
    def pixels_sha256(self) -> str:
        """Digest of the values of all samples in their order, without labels, names and classes."""
        digest = hashlib.sha256(repr(float(self.scale)).encode())
        for array in (self.train.images, self.test.images):
            _feed(digest, array)
        return digest.hexdigest()

    @cached_property
    def _fingerprint(self) -> str:
        if self.embedded is not None:
            return self.embedded.fingerprint(self.classes)
        digest = hashlib.sha256()
        digest.update(repr((self.name, self.classes, float(self.scale), self.mean, self.std)).encode())
        for array in (self.train.images, self.train.labels, self.test.images, self.test.labels):
            _feed(digest, array)
        if self.paths is not None:
            digest.update(repr(self.paths).encode())
        if self.texts is not None:
            digest.update(repr(("texts", self.texts)).encode())
        return digest.hexdigest()

    def _half(self, split: str) -> Split:
        if split not in ("train", "test"):
            raise TrainerError(f"split must be 'train' or 'test', got {split!r}")
        return self.train if split == "train" else self.test

    def _checked(self, split: SplitName, indices: ArrayLike) -> NDArray[np.int64]:
        return check_ids(indices, len(self._half(split)), f"{self.name} {split} ids")


def _feed(digest: "hashlib._Hash", array: NDArray[Any]) -> None:
    """Let a digest take type, shape and bytes of an array in."""
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    if array.size:  # an empty half has no bytes, and a view of none cannot be cast
        digest.update(np.ascontiguousarray(array).data.cast("B"))
