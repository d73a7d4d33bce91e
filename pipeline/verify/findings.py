"""What a check of a run finds: faults, what is merely worth knowing, and how much was looked at."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from zipfile import BadZipFile

from pipeline.errors import PipelineError, RunFailedError
from trainer.errors import TrainerError

T = TypeVar("T")
DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, EOFError, BadZipFile)
"""What reading a file that somebody changed may raise."""


@dataclass
class Findings:
    """What was found so far.

    Args:
        faults: what is wrong, one line each, beginning with the path.
        notes: what is not wrong and should be known.
        checked: how many things of a kind were looked at.

    """

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)

    def fault(self, path: Path, what: str) -> None:
        """Take in that something is wrong.

        Args:
            path: of what.
            what: is wrong, and what to do.

        """
        self.faults.append(f"{path}: {what}")

    def note(self, path: Path, what: str) -> None:
        """Take in what is worth knowing.

        Args:
            path: of what.
            what: about it.

        """
        self.notes.append(f"{path}: {what}")

    def count(self, what: str, number: int = 1) -> None:
        """Count what was looked at.

        Args:
            what: its kind, in the plural.
            number: how many.

        """
        self.checked[what] = self.checked.get(what, 0) + number

    @contextmanager
    def reading(self, path: Path) -> Iterator[None]:
        """Let whatever a changed file brings about be a fault of that file.

        Args:
            path: what is read.

        """
        try:
            yield
        except (PipelineError, RunFailedError, TrainerError) as error:
            said = str(error)
            self.faults.append(said if str(path) in said else f"{path}: {said}")
        except DAMAGE as error:
            self.fault(path, f"cannot be read ({type(error).__name__}: {' '.join(str(error).split())})")

    def read(self, path: Path, reader: Callable[[], T]) -> T | None:
        """Return what is read, or None where it cannot be, which is a fault then.

        Args:
            path: what is read.
            reader: reads it.

        """
        result: list[T] = []
        with self.reading(path):
            result.append(reader())
        return result[0] if result else None
