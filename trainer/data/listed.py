"""How a folder of images was listed once, so that it is read so again, whatever is put beside its images later."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Half = Literal["train", "test"] | None


class Sample(NamedTuple):
    """One image that is to be read.

    Args:
        name: path relative to the root, with slashes.
        label: name of its class; None where it has no label.
        split: the half it belongs to; None where the data does not say.

    """

    name: str
    label: str | None
    split: Half


@dataclass(frozen=True)
class Listed:
    """What a folder held when it was listed.

    Args:
        classes: names of the classes; the position is the label.
        samples: its images, sorted by name, each with its half.
        unreadable: those of them that could not be read and were left out.
        beside: images under the root that are none of its samples.
        labels_file: SHA-256 of its ``labels.csv``; None where it had none.

    """

    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    unreadable: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    labels_file: str | None = None
