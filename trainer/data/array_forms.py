"""The forms in which a user's arrays hold images, features, labels and texts, and the one that each is brought to."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.data.by_id import Stored
from trainer.data.custom import listed
from trainer.data.few_greys import few_greys, sampled
from trainer.data.labels import UNLABELLED, means_unlabelled
from trainer.errors import TrainerError

CHANNELS = (1, 3)
NARROW = 0.5  # floats that span less of 0 to 1 than this are spread before they become bytes
FULL = (0.0, 1.0)
NO_NUMBERS = frozenset(
    [str(2**bits - 1) for bits in (8, 15, 16, 31, 32, 63)] + [digit * n for digit in "9" for n in (2, 3, 4, 5)]
)
"""What stands for -1 where numbers have no sign, and what people type."""
FORMS = "[N, H, W], [N, H, W, C] or [N, C, H, W] with 1 or 3 channels, or features [N, d]"


class Named(NamedTuple):
    """An array, and how messages name it."""

    what: str
    array: NDArray[Any]


class Labels(NamedTuple):
    """The labels of some samples.

    Args:
        values: int64 or text ``[N]``; what stands where there is no label has no meaning.
        known: which have a label, ``[N]``.
        marks: why the others have none, and how many.

    """

    values: NDArray[Any]
    known: NDArray[np.bool_]
    marks: Counter[str]


def read_inputs(
    arrays: Sequence[Named], span: tuple[float, float] | None = None
) -> tuple[list[Stored], tuple[str, ...]]:
    """Return images as bytes ``[N, C, H, W]`` or features as float32 ``[N, d, 1, 1]``, and what is to be said of them.

    Args:
        arrays: ``[N, d]`` features, or images in any accepted form; all of them alike.
        span: which floats of images become 0 and 255, beyond which they are cut off; by default 0 and 1, or those in
            use where these are few.

    Raises:
        TrainerError: another shape, shapes that differ, or values that cannot be taken.

    """
    if all(x.ndim == 2 for _, x in arrays):
        inputs: list[Stored] = [_features(*named) for named in arrays]
        notes: tuple[str, ...] = (
            f"{arrays[0].what} holds {inputs[0].shape[1]:,} features of each sample, not images: a network is given "
            f"{list(inputs[0].shape[1:])}, for which --model linear is made",
        )
    else:
        images = [Named(what, _channels_first(what, x)) for what, x in arrays]
        low, high = span = span_of([x for _, x in images]) if span is None else span
        inputs = [_bytes(*named, span) for named in images]
        notes = (
            f"{arrays[0].what}: floats from {low:g} to {high:g}: these, not 0 to 1, are read as black to white",
        ) * (span != FULL)
        for what, x in images:
            if x.dtype.kind == "f" and (few := few_greys(sampled(x), lambda values: _spread(values, span))):
                notes = (*notes, few.said(what))
    if len({x.shape[1:] for x in inputs}) > 1:
        shapes = " but ".join(f"{what} {list(x.shape[1:])}" for (what, _), x in zip(arrays, inputs, strict=True))
        raise TrainerError(f"the samples of {shapes}; make them alike")
    return inputs, notes


def span_of(images: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """Return which floats of images are read as black and as white: 0 and 1, or those in use where these are few."""
    low = min((x.min() for x in images if x.dtype.kind == "f"), default=0)
    high = max((x.max() for x in images if x.dtype.kind == "f"), default=1)
    return (float(low), float(high)) if 0 <= low < high <= 1 and high - low < NARROW else FULL


def _features(what: str, x: NDArray[Any]) -> NDArray[np.float32]:
    if 0 in x.shape or x.dtype.kind not in "buif":
        raise TrainerError(f"{what}: expected features [N, d], numbers, got {x.dtype} {list(x.shape)}")
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
        features = np.ascontiguousarray(x, np.float32)
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise TrainerError(
            f"{what}: expected finite numbers that float32 can hold, but {len(bad)} of {len(x)} rows have others, such "
            f"as row {bad[0]}; remove or mend them"
        )
    return features[:, :, None, None]


def _channels_first(what: str, x: NDArray[Any]) -> NDArray[Any]:
    """Return ``[N, C, H, W]`` from any of the accepted shapes."""
    given = list(x.shape)
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[3] in CHANNELS and x.shape[1] not in CHANNELS:
        x = x.transpose(0, 3, 1, 2)
    if x.ndim != 4 or x.shape[1] not in CHANNELS or 0 in x.shape:
        raise TrainerError(f"{what}: expected {FORMS}, got {given}")
    if x.dtype.kind not in "buif":
        raise TrainerError(f"{what}: expected numbers, got {x.dtype}; save uint8")
    return x


def _bytes(what: str, x: NDArray[Any], span: tuple[float, float]) -> NDArray[np.uint8]:
    """Return images as bytes; of floats, ``span`` becomes 0 to 255."""
    if x.dtype == np.bool_:
        return np.ascontiguousarray(x).astype(np.uint8) * np.uint8(255)
    low, high = x.min(), x.max()
    top = 1 if x.dtype.kind == "f" else 255
    if x.dtype.kind == "f" and not np.isfinite([low, high]).all():
        wrong = int((~np.isfinite(x)).sum())
        raise TrainerError(f"{what}: expected finite numbers, got {wrong:,} of {x.size:,} that are NaN or infinite")
    if not (low >= 0 and high <= top):
        raise TrainerError(
            f"{what}: expected integers from 0 to 255 or floats from 0 to 1, got {x.dtype} from {low:g} to {high:g}; "
            "scale them to 0..255 and save uint8 (the run normalises by itself)"
        )
    if top == 255:
        return np.ascontiguousarray(x, np.uint8)  # itself, where it is of bytes already
    return np.ascontiguousarray(_spread(x, span)).astype(np.uint8)


def _spread(x: NDArray[Any], span: tuple[float, float]) -> NDArray[Any]:
    """Return floats as whole numbers from 0 to 255, which ``span`` becomes."""
    return np.rint(x * 255 if span == FULL else np.clip((x - span[0]) * (255 / (span[1] - span[0])), 0, 255))


def read_labels(what: str, y: NDArray[Any], n: int, classes: Sequence[str] | None) -> Labels:
    """Return labels from integers, whole floats or text ``[N]`` or ``[N, 1]``; -1, NaN and blanks are none.

    Args:
        what: how messages name them.
        y: the array.
        n: number of samples.
        classes: names that are given; they are classes whatever they look like.

    Raises:
        TrainerError: another type or shape, or numbers below 0 that may mean anything.

    """
    if y.dtype.kind == "S":
        y = np.char.decode(y, "utf-8", "replace")
    if y.shape == (n, 1):
        y = y[:, 0]
    if y.shape != (n,) or y.dtype.kind not in "buifU":
        raise TrainerError(
            f"{what}: expected a label for each of {n} samples, integers or text [{n}], got {y.dtype} "
            f"{list(y.shape)}{_advice(y, n)}"
        )
    if y.dtype.kind == "U":
        return _text(y, classes)
    return _numbers(what, y, classes)


def _advice(y: NDArray[Any], n: int) -> str:
    """Say how an array of another shape becomes one label for each sample."""
    if y.size == n and y.ndim > 1:
        return "; save it with .reshape(-1)"
    if y.ndim != 2 or len(y) != n or y.dtype.kind not in "buif" or y.shape[1] < 2:
        return "; give every sample one label"
    total, ones = y.sum(axis=1), np.isin(y, (0, 1)).all()
    if ones and (total == 1).all():
        return "; turn one-hot rows into class numbers with .argmax(1)"
    if ones and (total <= 1).all():
        return "; turn one-hot rows, some of them empty, into class numbers with np.where(y.any(1), y.argmax(1), -1)"
    if (y >= 0).all() and np.allclose(total, 1, atol=1e-3):
        return "; turn rows of probabilities into class numbers with .argmax(1)"
    return "; several labels of one sample cannot be used: keep one column"


def _text(y: NDArray[Any], classes: Sequence[str] | None) -> Labels:
    written, position = np.unique(y, return_inverse=True)
    none = np.array([means_unlabelled(str(text), classes) for text in written], np.bool_)
    known = ~none[position]
    marks = Counter({(f"marked {str(text).strip()!r}" if str(text).strip() else "blank"): 0 for text in written[none]})
    for text, count in zip(written[none], np.bincount(position, minlength=len(written))[none], strict=True):
        marks[f"marked {str(text).strip()!r}" if str(text).strip() else "blank"] += int(count)
    return Labels(y, known, marks)


def _numbers(what: str, y: NDArray[Any], classes: Sequence[str] | None) -> Labels:
    blank = np.isnan(y) if y.dtype.kind == "f" else np.zeros(len(y), np.bool_)
    given = y[~blank]
    most = np.iinfo(np.int64).max
    if len(given) and (not (given == np.floor(given)).all() or given.max() > most or given.min() < -most):
        raise TrainerError(
            f"{what}: expected text or integers that int64 can hold, got {y.dtype} from {given.min()} to "
            f"{given.max()}; number the classes from 0, or write their names"
        )
    values = np.full(len(y), UNLABELLED, np.int64)
    values[~blank] = given.astype(np.int64)
    if (values < UNLABELLED).any():
        raise TrainerError(
            f"{what}: expected class numbers from 0 on, and -1 where there is no label, got {values.min()}; number "
            "the classes from 0, or write their names"
        )
    known = values != UNLABELLED
    if classes is None and set(np.unique(values)) == {-1, 1}:
        raise TrainerError(
            f"{what}: the labels are -1 and 1, but -1 means that there is no label; write classes as 0 and 1, or "
            "their names"
        )
    marks = Counter({"marked -1": int((~known & ~blank).sum()), "blank": int(blank.sum())})
    return Labels(values, known, +marks)


def strange_number(classes: Sequence[str]) -> tuple[str, ...]:
    """Say where a class number stands so far from the others that it may mean that there is no label, as 255 or 999.

    Args:
        classes: names that nobody gave, in order.

    """
    numbers = sorted(int(name) for name in classes if name.isdecimal())
    if len(numbers) < 3 or len(numbers) != len(classes) or str(numbers[-1]) not in NO_NUMBERS:
        return ()
    last, most = numbers[-1], numbers[-2]
    if last <= 2 * most + 2:
        return ()
    others = f"{numbers[0]} to {most}"
    return (f"the class {last} stands far from the others, {others}: if it means that there is no label, write -1",)


def number_classes(labels: Sequence[Labels], names: Sequence[str] | None) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the names of the classes in order, and each sample's class number.

    Args:
        labels: of all arrays, in order.
        names: of the classes, where they are given; integers are positions in them.

    Returns:
        The names, and the numbers ``[N]``, ``UNLABELLED`` where there is no label.

    Raises:
        TrainerError: text beside integers, or a label that is none of the classes.

    """
    known = np.concatenate([part.known for part in labels])
    used = [part.values[part.known] for part in labels if part.known.any()]
    if len({values.dtype.kind for values in used}) > 1:
        raise TrainerError("one half's labels are text, the other's integers; make them alike")
    joined = np.concatenate(used) if used else np.empty(0, np.int64)
    numbers = np.full(len(known), UNLABELLED, np.int64)
    if names is None:
        values, numbers[known] = np.unique(joined, return_inverse=True)
        return tuple(str(value) for value in values), numbers
    if joined.dtype.kind == "U":
        strange = sorted({str(label) for label in joined} - set(names))
        if strange:
            raise TrainerError(f"the labels {listed(strange)} are not among the classes {listed(names)}; add them")
        position = {name: number for number, name in enumerate(names)}
        numbers[known] = [position[str(label)] for label in joined]
    else:
        if len(joined) and joined.max() >= len(names):
            raise TrainerError(
                f"{len(names)} classes are named, so labels run from 0 to {len(names) - 1}; "
                f"got {joined.min()} to {joined.max()}"
            )
        numbers[known] = joined
    return tuple(names), numbers


def read_texts(what: str, texts: NDArray[Any], n: int) -> tuple[str, ...]:
    """Return what is shown of each sample.

    Args:
        what: how messages name it.
        texts: text ``[N]``.
        n: number of samples.

    Raises:
        TrainerError: another type or shape.

    """
    if texts.dtype.kind == "S":
        texts = np.char.decode(texts, "utf-8", "replace")
    if texts.shape != (n,) or texts.dtype.kind != "U":
        raise TrainerError(
            f"{what}: expected a text for each of {n} samples, got {texts.dtype} {list(texts.shape)}; "
            "save it with .astype(str)"
        )
    return tuple(texts.tolist())
