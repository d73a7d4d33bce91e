"""Who said what and which network asked, kept up with the log event by event."""

from collections.abc import Sequence

from pipeline.run.events import Event
from pipeline.run.pool import GIVEN, Pool, annotators_of
from pipeline.run.votes import Votes


class Sayings:
    """What people said, and in which order.

    Args:
        events: of the run so far.

    """

    def __init__(self, events: Sequence[Event]) -> None:
        self.votes = Votes()
        self.grid_asked: set[int] = set()  # those asked about as near-copies of others, too
        self._order: dict[str, dict[int, None]] = {}  # of every annotator the samples, in the order of what was said
        self._given: set[int] = set()
        self._taken = 0
        self.take(events)

    def take(self, events: Sequence[Event]) -> None:
        """Take in what is new in the log.

        Args:
            events: all of them.

        """
        for event in events[self._taken :]:
            self.votes.take(event)
            self._apply(event)
        self._taken = len(events)

    def _apply(self, event: Event) -> None:
        kind = event["event"]
        if kind == "query" and ("grid" in event or "copies_of" in event):
            self.grid_asked.update(event["ids"])
        elif kind in ("label", "skip"):
            samples = event["ids"] if kind == "skip" else [sample for sample, _ in event["labels"]]
            for sample, annotator in zip(samples, annotators_of(event), strict=True):
                if annotator == GIVEN:
                    self._given.add(sample)
                    continue
                said = self._order.setdefault(annotator, {})
                said.pop(sample, None)
                said[sample] = None
        elif kind == "undo":
            for sample in event["ids"]:
                self._order.get(event["annotator"], {}).pop(sample, None)

    def together(self, sample: int, annotator: str) -> list[int]:
        """Return the samples that an annotator labelled at once as near-copies, that one which was asked about first.

        Args:
            sample: id of one of them.
            annotator: who.

        Returns:
            Ids; none where it was labelled by itself.

        """
        copies, said = self.votes.copies, self._order.get(annotator, {})
        first = copies.get((sample, annotator), sample)
        found = [one for one in said if copies.get((one, annotator)) == first]
        return [*([first] if first in said else []), *found] if found else []

    def asked_by(self, sample: int) -> int | None:
        """Return the network that asked for a sample; None where it was drawn at random.

        Args:
            sample: id.

        """
        return self.votes.asked_by.get(sample)

    def asked(self, network: int) -> int:
        """Return how many samples a network asked people about; not those of grids that nobody confirmed.

        Args:
            network: its number.

        """
        unsaid = {sample for sample in self.grid_asked if not self.votes.in_force(sample)}
        unsaid |= {sample for sample, _ in self.votes.copies}  # which nobody asked about
        return sum(by == network and sample not in unsaid for sample, by in self.votes.asked_by.items())

    def all(self) -> list[tuple[int, str]]:
        """Return every sample and annotator that says something of it."""
        return [(sample, annotator) for annotator, said in self._order.items() for sample in said]

    @property
    def annotators(self) -> list[str]:
        """Who said anything."""
        return [annotator for annotator, said in self._order.items() if said]

    def last(self, annotator: str) -> int | None:
        """Return the sample that an annotator spoke of last.

        Args:
            annotator: who.

        """
        return next(reversed(self._order.get(annotator, {})), None)

    def latest(self, annotator: str, limit: int) -> list[int]:
        """Return the samples that an annotator spoke of, latest first.

        Args:
            annotator: who.
            limit: how many at most.

        """
        said = reversed(self._order.get(annotator, {}))
        return [sample for sample, _ in zip(said, range(limit), strict=False)]

    def labelled(self, pool: Pool) -> int:
        """Return how many labels that count people gave, the check set's among them.

        Args:
            pool: the state of the labelling.

        """
        return len(pool.current) + len(pool.checked) - sum(sample in pool.current for sample in self._given)
