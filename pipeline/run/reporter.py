"""Whoever watches a run."""

from typing import Protocol

from pipeline.progress import StageProgress
from pipeline.run.summary import CycleRow


class Reporter(Protocol):
    """Whoever watches a run."""

    def stage(self, cycle: int, name: str) -> StageProgress:
        """Announce that a stage begins and return its progress callback.

        Args:
            cycle: number of the cycle.
            name: of the stage.

        """
        ...

    def row(self, row: CycleRow) -> None:
        """Show what a finished cycle achieved."""
        ...

    def warn(self, message: str) -> None:
        """Show a warning."""
        ...
