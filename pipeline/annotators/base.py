"""The contract of an annotator: a question in, answers and skips out; everything else goes through the event log."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Item:
    """One sample to be labelled.

    Args:
        sample: data-set-absolute id.
        name: what leads a person to it: a path, a row or a key of the user's own data.

    """

    sample: int
    name: str


@dataclass(frozen=True)
class Question:
    """What is asked at once.

    Args:
        round: number of the cycle whose network asks; -1 for the initial set.
        items: in rank order, best first.
        classes: names of the classes; a label is a position in them.
        open: what earlier rounds asked for and nobody has answered yet; answers to it are welcome, and count from
            the next training on.
        disputed: whether these items were answered already, in more than one way.

    """

    round: int
    items: tuple[Item, ...]
    classes: tuple[str, ...]
    open: tuple[Item, ...] = ()
    disputed: bool = False


@dataclass(frozen=True)
class Answer:
    """A label.

    Args:
        sample: which.
        label: position of its class.
        annotator: who says so.
        seconds: that it took; None where nobody measured.
        time: when, in ISO 8601; None where the same run is to give the same log.

    """

    sample: int
    label: int
    annotator: str
    seconds: float | None = None
    time: str | None = None


@dataclass(frozen=True)
class Skip:
    """A sample that its annotator will not label: this run does not ask for it again.

    Args:
        sample: which.
        annotator: who says so.
        reason: in their words.
        seconds: as of ``Answer``.
        time: likewise.

    """

    sample: int
    annotator: str
    reason: str = ""
    seconds: float | None = None
    time: str | None = None


@dataclass(frozen=True)
class Undo:
    """Takes back what an annotator last said of a sample, a label or a skip; an answer after it corrects that.

    Args:
        sample: which.
        annotator: who said it, and takes it back.

    """

    sample: int
    annotator: str


Said = Answer | Skip | Undo
"""What an annotator may say."""


class Annotator(Protocol):
    """Turns questions into labels: a simulated one, files, a page, or a plug-in."""

    def ask(self, question: Question) -> Iterable[Sequence[Said]]:
        """Yield what comes back, in portions; each is recorded durably, as a whole, before the next is taken.

        When nothing more is yielded the round is closed: what is left unanswered stays open for later rounds, and what
        was trained on does not change any more.

        Args:
            question: what is asked.

        """
        ...
