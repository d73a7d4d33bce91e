"""The contract of an annotator."""

from collections.abc import Sequence
from typing import Protocol


class Oracle(Protocol):
    """Turns questions into labels."""

    def answer(self, ids: Sequence[int]) -> list[tuple[int, int]]:
        """Return ``(sample id, class index)`` for the samples it could label, in the order asked."""
        ...
