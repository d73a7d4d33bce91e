"""Near-copies of an image that somebody is asked about: offered, shown as a grid, and labelled at once."""

import threading
from typing import TYPE_CHECKING, Any

from pipeline.cold.copies import copy_groups
from pipeline.session.desk import DeskError

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

    def check(self, annotator: str, sample: int, label: int, copies: list[int], wrong: list[int]) -> list[int]:
        """Return those copies that have no label yet, of a confirmation that is no contradiction.

        Args:
            annotator: who says so.
            sample: that they are copies of.
            label: the class.
            copies: samples that are of it, too.
            wrong: samples that are no copies.

        Raises:
            DeskError: it names others than were shown, or samples of which something else was said meanwhile.

        """
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


def items_of(clerk: "Clerk", sample: int, copies: list[int]) -> dict[str, Any]:
    """Return what the page shows of a sample and its near-copies, that sample first.

    Args:
        clerk: whose.
        sample: id.
        copies: of it.

    """
    return {"sample": sample, "items": [{**clerk.named(one), "probability": None} for one in (sample, *copies)]}
