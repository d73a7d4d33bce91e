"""Who said what of which sample, and who asked: read from a run's events alone."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from pipeline.run.events import Event
from pipeline.run.pool import INITIAL, annotators_of

SIMULATED = "simulated"
"""Who answered in the logs of older versions, which do not say."""


class Say(NamedTuple):
    """What an annotator says of a sample.

    Args:
        label: position of the class; None for a skip.
        round: in which it came; -1 for the initial set.
        time: when, in ISO 8601; None where nobody noted it.

    """

    label: int | None
    round: int
    time: str | None


class Votes:
    """Everything that annotators said, the last word of each in force; what was undone is none.

    Args:
        events: of a run.

    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.says: dict[int, dict[str, Say]] = {}  # by sample and annotator, those said last at the end
        self._beside: dict[tuple[int, str], Say] = {}  # skips of those whose label stands all the same
        self.independent: dict[int, dict[str, int]] = {}  # labels given before anybody was shown that others differ
        self.differing: set[int] = set()  # samples on which two annotators differed at any time
        self.seconds: dict[int, float] = {}  # by sample, all answers together, withdrawn ones too
        self.answers: dict[str, list[float]] = {}  # seconds of every answer that was timed, by annotator
        self.copies: dict[tuple[int, str], int] = {}  # by sample and annotator: the one whose label it was given with
        self.undone: Counter[str] = Counter()  # answers and skips withdrawn, by annotator
        self.asked_by: dict[int, int | None] = {}  # the cycle of the network that asked; None: drawn at random
        self.first: dict[int, str] = {}  # what chose samples before there was a network, where that was not chance
        for event in events:
            self.take(event)

    def in_force(self, sample: int) -> dict[str, Say]:
        """Return what is said of a sample now, by annotator; empty where nobody says anything."""
        return self.says.get(sample, {})

    def take(self, event: Event) -> None:
        """Take the log's next event in.

        Args:
            event: with its fields.

        """
        kind, round_ = event["event"], event.get("cycle", INITIAL)
        if kind == "query":
            network = event.get("network", None if round_ == INITIAL else round_)
            for sample in event["ids"]:
                self.asked_by.setdefault(sample, network)
                if "initial" in event:
                    self.first.setdefault(sample, event["initial"])
        elif kind == "undo":
            for sample, who in zip(event["ids"], _names(event), strict=True):
                self._undo(sample, who)
        elif kind in ("label", "skip"):
            for entry in _entries(event):
                self._say(*entry)
                self.copies.pop(entry[:2], None)
                if "copy_of" in event:
                    self.copies[entry[:2]] = event["copy_of"]
            self._compare({sample for sample, *_ in _entries(event)})

    def _say(self, sample: int, who: str, say: Say, seconds: float | None) -> None:
        if seconds is not None:
            self.seconds[sample] = self.seconds.get(sample, 0.0) + seconds
            self.answers.setdefault(who, []).append(seconds)
        said = self.says.setdefault(sample, {})
        before = said.get(who)
        if say.label is None and before is not None and before.label is not None:
            self._beside[sample, who] = say  # as the pool has it: only an undo takes a label back
            return
        said.pop(who, None)
        said[who] = say
        if say.label is None:
            return
        if before is not None and before.label is None:
            self._beside[sample, who] = before
        if sample not in self.differing:
            self.independent.setdefault(sample, {})[who] = say.label

    def _undo(self, sample: int, who: str) -> None:
        if self.says.get(sample, {}).pop(who, None) is None:
            return
        self.undone[who] += 1
        self.copies.pop((sample, who), None)
        if sample not in self.differing:
            self.independent.get(sample, {}).pop(who, None)
        if (skip := self._beside.pop((sample, who), None)) is not None:
            self.says[sample][who] = skip

    def _compare(self, samples: Iterable[int]) -> None:
        """Note who differs, once a portion is in: what came in one portion was said without seeing the rest of it."""
        for sample in samples:
            if len(set(self.independent.get(sample, {}).values())) > 1:
                self.differing.add(sample)


def classes_now(classes: Sequence[str], events: Iterable[Event]) -> tuple[str, ...]:
    """Return the names of a run's classes, those that were added while it went on at the end.

    Args:
        classes: that the data has, with the added ones or without them.
        events: of the run.

    """
    added = [event["name"] for event in events if event["event"] == "class_added"]
    return (*classes, *(name for name in dict.fromkeys(added) if name not in classes))


def _names(event: Event) -> list[str]:
    return [name or SIMULATED for name in annotators_of(event)]


def _entries(event: Event) -> Iterator[tuple[int, str, Say, float | None]]:
    """Yield sample, annotator, what was said and how long it took, of a ``label`` or ``skip`` event."""
    skip, round_ = event["event"] == "skip", event.get("cycle", INITIAL)
    pairs: list[Any] = [(sample, None) for sample in event["ids"]] if skip else event["labels"]
    none = [None] * len(pairs)
    seconds, times = event.get("seconds") or none, event.get("time") or none
    for (sample, label), who, took, when in zip(pairs, _names(event), seconds, times, strict=True):
        yield sample, who, Say(label, round_, when), took
