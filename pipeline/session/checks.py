"""The check set of a session: drawn once, asked about between other questions, and predicted by every network."""

from typing import TYPE_CHECKING

import numpy as np

from pipeline import seeds
from pipeline.errors import PipelineError
from pipeline.run.check_set import DRAWN, PREDICTED, CheckSet, check_set_of, unpredicted
from pipeline.session.turns import Turn

if TYPE_CHECKING:
    from pipeline.session.clerk import Clerk

EVERY = 3
"""One question in so many is about the check set, while there is something left of it."""
LARGEST_SHARE = 0.5
"""Of the images without a label that may be drawn: the others are there to be learned from."""


class Checks:
    """Asks about the check set, in the clerk's thread.

    Args:
        clerk: that it belongs to.

    Raises:
        PipelineError: more is wanted than may be drawn.

    """

    def __init__(self, clerk: "Clerk") -> None:
        self._clerk = clerk
        annotator = clerk.context.config.annotator
        self._draw(annotator.check if annotator else None)
        self._known: tuple[int, CheckSet | None] = (-1, None)
        self._seen, self._others, self._last_was_check = 0, 0, False  # of the log: what was asked beside it

    def _draw(self, wanted: int | None) -> None:
        """Draw what is missing, uniformly from what nobody was asked about."""
        pool = self._clerk.pool
        if wanted is None or wanted <= len(pool.check_set):
            return
        taken = [*pool.check_set, *(sample for ids in pool.queries.values() for sample in ids)]
        free = np.setdiff1d(np.arange(pool.size), taken)
        require_room(wanted, len(pool.check_set), len(free))
        stream = seeds.generator(self._clerk.context.config.seed, len(pool.check_set), "check")
        drawn = stream.choice(free, wanted - len(pool.check_set), replace=False)
        self._clerk.run.append(DRAWN, cycle=pool.round, ids=drawn.tolist())

    @property
    def ids(self) -> tuple[int, ...]:
        """All of its samples."""
        return tuple(self._clerk.pool.check_set)

    def new_turn(self, *, due: bool = True, apart: bool = True) -> Turn | None:
        """Return the next of it, logged before anybody is shown it; None where there is none.

        Args:
            due: whether to keep to one question in ``EVERY``.
            apart: whether never to ask about two in a row.

        """
        pool = self._clerk.pool
        asked = sum(pool.asked_in(sample) is not None for sample in pool.check_set)
        if asked == len(pool.check_set):
            return None
        self._follow()
        if (apart and self._last_was_check) or (due and (asked + 1) * (EVERY - 1) > self._others):
            return None
        sample = next(sample for sample in pool.check_set if pool.asked_in(sample) is None)
        self._clerk.log_query([sample], [0.0], None, check=True)
        return Turn(sample, "check")

    def _follow(self) -> None:
        """Count what is new in the log of questions to people."""
        events = self._clerk.run.events
        for event in events[self._seen :]:
            if event["event"] == "query" and "network" in event:  # those without are labels that came with the data
                self._last_was_check = "check" in event
                self._others += 0 if self._last_was_check else len(event["ids"])
        self._seen = len(events)

    def note(self, cycle: int, predicted: dict[int, int]) -> None:
        """Log what a network takes the check set for, as far as the log does not say it.

        Args:
            cycle: number of the network.
            predicted: class numbers by sample.

        """
        new = unpredicted(self._clerk.run.events, cycle, predicted)
        if new:
            labels = [[sample, label] for sample, label in predicted.items() if sample in new]
            self._clerk.run.append(PREDICTED, cycle=cycle, labels=labels)

    @property
    def set(self) -> CheckSet | None:
        """What is known of it."""
        events = self._clerk.run.events
        if self._known[0] != len(events):
            self._known = len(events), check_set_of(events, self._clerk.pool)
        return self._known[1]


def require_room(wanted: int | None, drawn: int, unlabelled: int) -> None:
    """Refuse a check set that would leave too little to learn from.

    Args:
        wanted: images that it should have; None for no check set.
        drawn: that it has.
        unlabelled: images that nobody was asked about and that are of no check set.

    Raises:
        PipelineError: it is larger than its share.

    """
    most = drawn + int(LARGEST_SHARE * unlabelled)
    if wanted is not None and wanted > max(most, drawn):
        raise PipelineError(
            f"--check: expected at most {most}, half of the {unlabelled} images that nobody was asked about"
            f"{f' beside the {drawn} drawn before' if drawn else ''}, got {wanted}"
        )
