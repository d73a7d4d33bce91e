"""Samples that are exact copies of others where they should not be, and images that show nothing; said, not removed."""

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainer.data.by_id import Stored
from trainer.data.constants import CHUNK_BYTES
from trainer.data.labels import UNLABELLED

if TYPE_CHECKING:
    from trainer.data.arrays import DataSet


def doubtful_samples(data: "DataSet") -> tuple[str, ...]:
    """Say which test samples are also training samples, which are of two classes at once and which images are blank.

    Copies are alike in every byte that a network sees, after scaling; what has no label is a training sample, too.

    Args:
        data: the data set.

    Returns:
        A sentence each.

    """
    halves, what = (data.train.images, data.test.images), "sample" if data.holds_features else "image"
    keys = np.array([_key(sample) for half in halves for sample in half], np.uint64)
    n, notes = len(data.train), list[str]()

    def name(i: int) -> str:
        return data.sample_path("train", i) if i < n else data.sample_path("test", i - n)

    leaked = n + np.flatnonzero(np.isin(keys[n:], keys[:n]))
    if len(leaked):
        copies = "an exact copy" if len(leaked) == 1 else "exact copies"
        first = int(np.flatnonzero(keys[:n] == keys[leaked[0]])[0])
        notes.append(
            f"{_of(len(leaked), len(data.test), f'test {what}')} {copies} of training {what}s, such as "
            f"{name(int(leaked[0]))} of {name(first)}: accuracy on copies says nothing about new {what}s; remove one "
            "of each pair"
        )
    labels = np.concatenate([data.train.labels, data.test.labels])
    notes += _in_two_classes(keys, labels, data.classes, name, what)
    if not data.holds_features and (blank := _blank(halves)):
        notes.append(
            f"{_of(len(blank), len(keys), 'image')} of one colour all over, such as {name(blank[0])}: if nothing is "
            "to be seen on them, remove them"
        )
    return tuple(notes)


def _in_two_classes(
    keys: NDArray[np.uint64], labels: NDArray[np.int64], classes: Sequence[str], name: Callable[[int], str], what: str
) -> list[str]:
    known = np.flatnonzero(labels != UNLABELLED)
    _, first, group = np.unique(keys[known], return_index=True, return_inverse=True)
    torn = known[labels[known] != labels[known][first[group]]]  # labelled otherwise than the first of its copies
    if not len(torn):
        return []
    one, other = (int(sample) for sample in (known[first[group[np.searchsorted(known, torn[0])]]], torn[0]))
    count = len(np.unique(keys[torn]))
    return [
        f"{count:,} {what}{'s stand' if count > 1 else ' stands'} in more than one class, such as {name(one)} "
        f"({classes[labels[one]]!r}), of which {name(other)} ({classes[labels[other]]!r}) is an exact copy: label all "
        "copies alike, or remove them"
    ]


def _key(sample: Stored) -> int:
    return int.from_bytes(hashlib.blake2b(sample.tobytes(), digest_size=8).digest(), "little")


def _blank(halves: tuple[Stored, Stored]) -> list[int]:
    """Return which images have one colour in every place."""
    found, before = list[int](), 0
    for half in halves:
        step = max(1, CHUNK_BYTES // max(1, half[:1].nbytes))
        for start in range(0, len(half) if half[0:1, 0].size > 1 else 0, step):
            piece = half[start : start + step]
            blank = (piece == piece[:, :, :1, :1]).all(axis=(1, 2, 3))
            found += (before + start + np.flatnonzero(blank)).tolist()
        before += len(half)
    return found


def _of(count: int, total: int, what: str) -> str:
    return f"{count:,} of {total:,} {what}s {'is' if count == 1 else 'are'}"
