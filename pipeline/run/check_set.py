"""The check set: images drawn at random that people label to measure accuracy, and that nothing is trained on.

All of it is in the log.  ``check_drawn`` says which images it has; a ``query`` that asks about one says ``check``; its
labels and skips are like others; ``check_predicted`` says what a cycle's network takes each image for.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.run.events import Event
from pipeline.run.pool import Pool

DRAWN, PREDICTED = "check_drawn", "check_predicted"


class Measured(NamedTuple):
    """How one network did on the check set.

    Args:
        cycle: its number.
        labels: that it was trained on.
        right: images of which it predicts the label.
        images: that have one, and that it was asked about.

    """

    cycle: int
    labels: int
    right: int
    images: int


class CheckSet(NamedTuple):
    """What is known of a check set.

    Args:
        size: images drawn.
        answered: those with a label that counts.
        skipped: those that nobody would label.
        disputed: those on which people differ.
        measured: of every network that was asked about images with a label, in order.

    """

    size: int
    answered: int
    skipped: int
    disputed: int
    measured: tuple[Measured, ...]

    @property
    def left(self) -> int:
        """Images that are still to be labelled."""
        return self.size - self.answered - self.skipped - self.disputed

    @property
    def told(self) -> str:
        """Say in one line how far it is."""
        more = [
            (self.skipped, "skipped, which accuracy leaves out"),
            (self.disputed, "disputed"),
            (self.left, "to come"),
        ]
        said = [f"{self.answered} of {self.size} images labelled", *(f"{n} {what}" for n, what in more if n)]
        return ", ".join(said)


def check_set_of(events: Iterable[Event], pool: Pool | None = None) -> CheckSet | None:
    """Return what a log says of its check set; None where there is none.

    Args:
        events: of a run.
        pool: the state of its labelling, where somebody has it.

    """
    events = list(events)
    if not any(event["event"] == DRAWN for event in events):
        return None
    pool = pool or Pool(0, events)
    predicted: dict[int, dict[int, int]] = {}  # by cycle and sample
    for event in events:
        if event["event"] == PREDICTED:
            predicted.setdefault(event["cycle"], {}).update(map(tuple, event["labels"]))
    measured = [_measured(cycle, guesses, pool) for cycle, guesses in sorted(predicted.items())]
    return CheckSet(
        size=len(pool.check_set),
        answered=len(pool.checked),
        skipped=sum(pool.left_out(sample) for sample in pool.check_set),
        disputed=len(pool.disputed & pool.check_set.keys()),
        measured=tuple(one for one in measured if one.images),
    )


def _measured(cycle: int, guesses: dict[int, int], pool: Pool) -> Measured:
    both = [(guess, pool.checked[sample]) for sample, guess in guesses.items() if sample in pool.checked]
    return Measured(cycle, len(pool.labelled(cycle)), sum(guess == label for guess, label in both), len(both))


def unpredicted(events: Sequence[Event], cycle: int, check_set: Iterable[int]) -> set[int]:
    """Return the samples of a check set that a cycle's network was not asked about.

    Args:
        events: of a run.
        cycle: number of the network.
        check_set: ids.

    """
    mine = (event for event in events if event["event"] == PREDICTED and event["cycle"] == cycle)
    return set(check_set) - {sample for event in mine for sample, _ in event["labels"]}
