"""Near-copies of an image that somebody is asked about: offered, shown as a grid, and labelled at once."""

import threading
from typing import TYPE_CHECKING, Any

from pipeline.annotators import Answer, Undo
from pipeline.cold.copies import copy_groups
from pipeline.session.desk import DeskError
from pipeline.session.times import now

if TYPE_CHECKING:
    from pipeline.session.clerk import Clerk

MOST_SHOWN = 96
"""Copies that are shown at once."""


class Copies:
    """Near-copies of a run's images, found in a thread of its own; there are none until it is done.

    Args:
        clerk: whose.

    """

    def __init__(self, clerk: "Clerk") -> None:
        self._clerk = clerk
        self._groups: dict[int, tuple[int, ...]] = {}
        self._search = threading.Thread(target=self._find, daemon=True)
        self._search.start()

    def wait(self) -> None:
        """Wait until they are found."""
        self._search.join()

    def of(self, sample: int, annotator: str) -> list[int]:
        """Return the near-copies of a sample that nobody said anything of or has before them, as many as may be shown.

        Args:
            sample: id.
            annotator: who would see them.

        """
        clerk, left = self._clerk, self._clerk.budget_left
        group = self._groups.get(sample, ())
        if not group or sample in clerk.pool.check_set:
            return []
        taken = clerk.turns.taken(annotator)
        free = [one for one in group if one != sample and one not in taken and self._open(one)]
        return free[: MOST_SHOWN if left is None else max(0, min(MOST_SHOWN, left - 1))]

    def show(self, annotator: str, sample: int) -> dict[str, Any]:
        """Return a sample and those near-copies of it of which nobody said anything yet.

        Args:
            annotator: who is shown them.
            sample: that they are asked about.

        Raises:
            DeskError: it was never asked about, or there are none.

        """
        clerk = self._clerk
        clerk.require_open()
        clerk.require_asked(sample)
        if not (copies := self.of(sample, annotator)):
            raise DeskError("there are no near-copies of it that nobody has labelled")
        return {"sample": sample, "items": [{**clerk.named(one), "probability": None} for one in (sample, *copies)]}

    def label(
        self, annotator: str, sample: int, label: str, right: list[int], wrong: list[int], seconds: float | None
    ) -> dict[str, Any]:
        """Record one label of a sample and of its near-copies, each in an event of its own.

        Args:
            annotator: who says so.
            sample: that was asked about.
            label: name of the class of all of them.
            right: near-copies that are of it, too.
            wrong: those that are not; nothing is said of them.
            seconds: that all of them took.

        Raises:
            DeskError: it contradicts what is asked or was said.

        """
        clerk = self._clerk
        clerk.require_open()
        clerk.require_asked(sample)
        number = clerk.number_of(label)
        if clerk.pool.votes(sample).get(annotator, number) != number:
            raise DeskError("you called it something else already: undo that first")
        if clerk.pool.skipped_by(sample, annotator):
            raise DeskError("you skipped it already: undo that first")
        fresh = self._fresh(annotator, sample, number, right, wrong)
        if new := [one for one in fresh if clerk.pool.asked_in(one) is None]:
            clerk.networks.ask_of_copies(sample, new)
        each = None if seconds is None else seconds / (1 + len(right) + len(wrong))
        answers = [Answer(one, number, annotator, each, now()) for one in (sample, *fresh)]
        clerk.take([answers[0]], answers[1:])
        return clerk.question(annotator)

    def undo(self, annotator: str, sample: int) -> dict[str, Any]:
        """Withdraw a label together with those of the near-copies that were given with it; return that question.

        Args:
            annotator: who.
            sample: id of any of them.

        Raises:
            DeskError: it contradicts what is asked or was said.

        """
        clerk = self._clerk
        clerk.require_open()
        together = clerk.sayings.together(sample, annotator)
        first = together[0] if together else sample
        clerk.turns.put_off.update(together[1:])  # not asked one by one right after
        if together:
            clerk.take([Undo(one, annotator) for one in reversed(together[1:])])
        return clerk.undo(annotator, first)

    def _fresh(self, annotator: str, sample: int, label: int, copies: list[int], wrong: list[int]) -> list[int]:
        """Return those copies that have no label yet, of a confirmation that is no contradiction."""
        group, pool = self._groups.get(sample, ()), self._clerk.pool
        if sample in (*copies, *wrong) or len({*copies, *wrong}) != len(copies) + len(wrong):
            raise DeskError("expected every copy once, as right or as wrong", 400)
        for one in (*copies, *wrong):
            if one not in group:
                raise DeskError(f"sample {one} is no near-copy of {sample}", 404)
        fresh = [one for one in copies if pool.votes(one).get(annotator) != label]
        if any(not self._open(one) for one in fresh):
            raise DeskError("something was said of one of them meanwhile: look at them again")
        return fresh

    def _open(self, sample: int) -> bool:
        pool = self._clerk.pool
        said = pool.votes(sample) or pool.left_out(sample) or sample in pool.disputed
        return not said and sample not in pool.check_set  # of which each is asked about by itself

    def _find(self) -> None:
        clerk = self._clerk
        try:
            self._groups = copy_groups(clerk.context.data, clerk.context.config.seed)
        except Exception as error:  # such as an image that cannot be read any more: nobody is kept from labelling
            line = f"near-copies are not offered: {type(error).__name__}: {' '.join(str(error).split())}"
            clerk.tell(lambda: clerk.warn(line))
            return
        clerk.tell(self._found)

    def _found(self) -> None:
        self._clerk.version += 1
