"""Grids: the likeliest images of one class before somebody who says which of them are not."""

from typing import TYPE_CHECKING, Any

from pipeline.annotators import Answer
from pipeline.session.desk import DeskError
from pipeline.session.times import now

if TYPE_CHECKING:
    from pipeline.session.clerk import Clerk

SPENT = "The budget is spent. Finish to get the products, or start again with a larger --budget."


class Grids:
    """What each annotator has before them as a grid; a sample of one that nobody confirms is put off.

    Args:
        clerk: whose.

    """

    def __init__(self, clerk: "Clerk") -> None:
        self._clerk = clerk

    def ask(self, annotator: str, label: str, size: int) -> dict[str, Any]:
        """Ask about the likeliest samples of a class at once.

        Args:
            annotator: who is shown them.
            label: name of the class.
            size: how many at most.

        Raises:
            DeskError: it contradicts what is asked or was said.

        """
        clerk = self._clerk
        clerk.require_open()
        number = clerk.number_of(label)
        clerk.version += 1
        return {"label": label, "items": self._shown(annotator, number, size), "asked_by": clerk.networks.serving}

    def confirm(
        self, annotator: str, label: str, right: list[int], wrong: list[int], seconds: float | None
    ) -> dict[str, Any]:
        """Record the labels of a grid; those that are wrong are asked about one by one.

        Args:
            annotator: who says so.
            label: name of the class.
            right: samples that are of it.
            wrong: samples that are not.
            seconds: that all of them took.

        Raises:
            DeskError: it contradicts what is asked or was said.

        """
        clerk = self._clerk
        number = clerk.number_of(label)
        for sample in (*right, *wrong):
            clerk.require_asked(sample)
        self._check(annotator, number, right, wrong)
        each = None if seconds is None else seconds / max(1, len(right) + len(wrong))
        clerk.take([Answer(sample, number, annotator, each, now()) for sample in right])
        self._close(annotator, wrong)
        return clerk.question(annotator)

    def _shown(self, annotator: str, label: int, size: int) -> list[dict[str, Any]]:
        """Return the grid that an annotator has open of a class, else a new one."""
        clerk = self._clerk
        desk = clerk.turns.of(annotator)
        open_now = tuple(sample for sample in desk.grid if self._open(sample)) if desk.grid_label == label else ()
        if not open_now:
            left = clerk.budget_left
            if left == 0:
                raise DeskError(SPENT)
            desk.grid, desk.grid_label = (), -1  # what an earlier grid asked about and nobody confirmed is put off
            put_off = clerk.turns.put_off_for(annotator)
            open_now = clerk.networks.new_grid(label, size if left is None else min(size, left), put_off)
        desk.grid, desk.grid_label = open_now, label
        predictions = clerk.networks.predictions(open_now)
        return [self._item(sample, predictions.get(sample)) for sample in open_now]

    def _check(self, annotator: str, label: int, right: list[int], wrong: list[int]) -> None:
        """Refuse a confirmation that contradicts itself or what its annotator said before."""
        pool, of_it = self._clerk.pool, set(right)
        if len({*right, *wrong}) != len(right) + len(wrong):
            raise DeskError("expected every image once, as right or as wrong", 400)
        for sample in (*right, *wrong):
            said = pool.votes(sample).get(annotator)
            if said is not None and (said == label) != (sample in of_it):
                raise DeskError(f"you called one of them {self._clerk.classes[said]!r} already: undo that first")
            if said is None and sample in of_it and pool.skipped_by(sample, annotator):
                raise DeskError("you skipped one of them already: undo that first")

    def _close(self, annotator: str, wrong: list[int]) -> None:
        """Take a grid away; what was wrong in it is asked about one by one."""
        self._clerk.turns.put_off.difference_update(wrong)
        desk = self._clerk.turns.of(annotator)
        desk.grid, desk.grid_label = (), -1

    def _open(self, sample: int) -> bool:
        return sample in self._clerk.pool.open_samples and sample in self._clerk.turns.put_off

    def _item(self, sample: int, prediction: dict[str, Any] | None) -> dict[str, Any]:
        return {**self._clerk.named(sample), "probability": prediction["probability"] if prediction else None}
