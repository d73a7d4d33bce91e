"""How a stage reports that it is alive."""

from collections.abc import Callable

StageProgress = Callable[[int, int], None]
"""Called with ``(units done, units in all)``."""


def silent(done: int, total: int) -> None:
    """Report nothing."""
