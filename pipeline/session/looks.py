"""Labels that look wrong to the network that asks: shown again to whoever wants to look, changed by people alone."""

from typing import TYPE_CHECKING, Any

from pipeline.advise.doubts import Doubt, Doubts
from pipeline.session.desk import DeskError

if TYPE_CHECKING:
    from pipeline.session.clerk import Clerk


class Looks:
    """What is in doubt, in the clerk's thread; which labels somebody stands by is in the log.

    Args:
        clerk: whose.

    """

    def __init__(self, clerk: "Clerk") -> None:
        self._clerk = clerk

    @property
    def _doubts(self) -> Doubts:
        return self._clerk.networks.doubts

    def shown(self) -> tuple[Doubt, ...]:
        """Return the labels that a person should look at again."""
        pool = self._clerk.pool
        return self._doubts.shown(pool.current, pool.kept)

    def items(self, annotator: str) -> dict[str, Any]:
        """Return them as the page shows them, each with what was said of it.

        Args:
            annotator: who looks.

        """
        clerk = self._clerk
        items = []
        for doubt in self.shown():
            votes = clerk.pool.votes(doubt.sample)
            mine = annotator in votes
            items.append(
                {
                    **clerk.named(doubt.sample),
                    "said": clerk.classes[doubt.label],
                    "annotator": annotator if mine else next(reversed(votes), ""),
                    "mine": mine,
                    "suggested": clerk.classes[doubt.suggested],
                    "final": True,
                }
            )
        return {"items": items, "basis": self._doubts.basis}

    def keep(self, annotator: str, sample: int) -> None:
        """Log that a label is right although it looks wrong.

        Args:
            annotator: who says so.
            sample: which.

        Raises:
            DeskError: there is no such sample, or it has no label.

        """
        pool = self._clerk.pool
        if pool.asked_in(sample) is None:
            raise DeskError(f"sample {sample} was never asked about", 404)
        if sample not in pool.current:
            raise DeskError(f"sample {sample} has no label that could be kept")
        if pool.kept.get(sample) != pool.current[sample]:
            labels = [[sample, pool.current[sample]]]
            self._clerk.run.append("kept", cycle=pool.round, labels=labels, annotator=annotator)
        self._clerk.version += 1
