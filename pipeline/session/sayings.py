"""Who said what and which network asked, kept up with the log event by event."""

from collections.abc import Sequence

from pipeline.run.events import Event
from pipeline.run.pool import Pool, annotators_of
from pipeline.run.rounds import GIVEN


class Sayings:
    """What people said, latest last, and who asked.

    Args:
        events: of the run so far.

    """

    def __init__(self, events: Sequence[Event]) -> None:
        self.asked_by: dict[int, int | None] = {}
        self.grid_asked: set[int] = set()
        self._by: dict[str, dict[int, None]] = {}  # per annotator the samples, in the order of what was said last
        self._given: set[int] = set()
        self._taken = 0
        self.take(events)

    def take(self, events: Sequence[Event]) -> None:
        """Take in what is new in the log.

        Args:
            events: all of them.

        """
        for event in events[self._taken :]:
            self._apply(event)
        self._taken = len(events)

    def _apply(self, event: Event) -> None:
        kind = event["event"]
        if kind == "query":
            self.asked_by |= dict.fromkeys(event["ids"], event.get("network"))
            if "grid" in event:
                self.grid_asked.update(event["ids"])
        elif kind in ("label", "skip"):
            samples = event["ids"] if kind == "skip" else [sample for sample, _ in event["labels"]]
            for sample, annotator in zip(samples, annotators_of(event), strict=True):
                if annotator == GIVEN:
                    self._given.add(sample)
                    continue
                said = self._by.setdefault(annotator, {})
                said.pop(sample, None)
                said[sample] = None
        elif kind == "undo":
            for sample in event["ids"]:
                self._by.get(event["annotator"], {}).pop(sample, None)

    def all(self) -> list[tuple[int, str]]:
        """Return every sample and annotator that says something of it."""
        return [(sample, annotator) for annotator, said in self._by.items() for sample in said]

    @property
    def annotators(self) -> list[str]:
        """Who said anything."""
        return [annotator for annotator, said in self._by.items() if said]

    def last(self, annotator: str) -> int | None:
        """Return the sample that an annotator spoke of last.

        Args:
            annotator: who.

        """
        return next(reversed(self._by.get(annotator, {})), None)

    def latest(self, annotator: str, limit: int) -> list[int]:
        """Return the samples that an annotator spoke of, latest first.

        Args:
            annotator: who.
            limit: how many at most.

        """
        said = reversed(self._by.get(annotator, {}))
        return [sample for sample, _ in zip(said, range(limit), strict=False)]

    def labelled(self, pool: Pool) -> int:
        """Return how many labels that count people gave.

        Args:
            pool: the state of the labelling.

        """
        return len(pool.current) - sum(sample in pool.current for sample in self._given)
