"""How a stage reports that it is alive, and what it is about to do."""

from typing import Protocol


class StageProgress(Protocol):
    """What a stage is given to report to."""

    def __call__(self, done: int, total: int) -> None:
        """Say how much is done, in units of the stage's own.

        Args:
            done: how much is done.
            total: of how much.

        """
        ...

    def plan(self, text: str) -> None:
        """Say in one line what will be computed and in how much memory."""
        ...


class Silent:
    """Reports nothing."""

    def __call__(self, done: int, total: int) -> None:
        """Ignore it.

        Args:
            done: how much is done.
            total: of how much.

        """

    def plan(self, text: str) -> None:
        """Ignore it."""


silent = Silent()
