"""The contract of a hand-off: a run's questions out in a tool's own files, a tool's files in as rows of one kind."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from common.reading import LARGEST_TEXT, opened, parse_json, read_regular, why
from pipeline.errors import PipelineError
from trainer.data import DataSet


class Row(NamedTuple):
    """What one row, task or image of a tool's file says.

    Args:
        where: it stands, such as ``line 3`` or ``task 17``.
        cells: by column: ``sample_id``, ``path``, ``picture`` (a file's name as the hand-off wrote it), ``stem`` (the
            same without its ending), ``label``, ``annotator``, ``seconds``, ``status``, ``run_id`` and ``time`` (when
            it was said, in ISO 8601; of two the later one counts). What is missing or empty says nothing.
        fault: why it cannot be an answer; then the cells do not matter.

    """

    where: str
    cells: Mapping[str, str]
    fault: str = ""


class Handed(NamedTuple):
    """What a tool's file says.

    Args:
        rows: of it.
        notes: what the person who hands it over should know, one line each.

    """

    rows: Iterable[Row]
    notes: tuple[str, ...] = ()


class Asked(NamedTuple):
    """What is handed to a tool.

    Args:
        run_id: names the run.
        round: that asks; -1 for the initial set.
        samples: ids, the best first.
        classes: names of all classes.
        data: the run's.
        predictions: names of the classes that the network takes samples for; empty unless they are wanted.
        image_root: folder that a tool serves pictures from; None: they go into the hand-off itself.

    """

    run_id: str
    round: int
    samples: tuple[int, ...]
    classes: tuple[str, ...]
    data: DataSet
    predictions: Mapping[int, str]
    image_root: Path | None = None


@dataclass(frozen=True)
class Given:
    """A file that somebody hands over, read once, as far as it is needed.

    Args:
        path: of the file.

    """

    path: Path

    @cached_property
    def is_zip(self) -> bool:
        """Whether it is an archive."""
        with reading(self.path), opened(self.path) as file:
            return file.read(4) == b"PK\x03\x04"

    @cached_property
    def content(self) -> bytes:
        """Its bytes.

        Raises:
            PipelineError: it cannot be read, or is too large.

        """
        with reading(self.path):
            return read_regular(self.path, LARGEST_TEXT)

    @cached_property
    def text(self) -> str:
        """Its text, with line feeds.

        Raises:
            PipelineError: it is no text in UTF-8 or UTF-16.

        """
        try:
            text = self.content.decode("utf-16" if self.content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        except UnicodeDecodeError as error:
            raise PipelineError(
                f"{self.path}: expected text in UTF-8; got another encoding: save it as 'CSV UTF-8', or export it again"
            ) from error
        return text.replace("\r\n", "\n").replace("\r", "\n")

    @cached_property
    def start(self) -> str:
        """The first character that is no blank; empty where there is none."""
        return self.text.lstrip()[:1]

    @cached_property
    def json(self) -> Any:
        """Its plain value.

        Raises:
            PipelineError: it is no JSON.

        """
        try:
            return parse_json(self.text)
        except ValueError as error:
            raise PipelineError(f"{self.path}: expected JSON, but it cannot be read ({why(error)})") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Let whatever the system says of a file that is handed over end in one line.

    Args:
        path: of the file.

    Raises:
        PipelineError: it cannot be read.

    """
    try:
        yield
    except OSError as error:
        raise PipelineError(f"{path}: expected a file of labels, but it cannot be read ({why(error)})") from error


class Handoff(Protocol):
    """One tool's files."""

    name: str
    """By which ``--format`` knows it."""
    title: str
    """What people call it."""

    def reads(self, given: Given) -> bool:
        """Tell whether a file is this tool's, by its content.

        Args:
            given: the file.

        """
        ...

    def read(self, given: Given) -> Handed:
        """Return what a file says.

        Args:
            given: the file.

        Raises:
            PipelineError: it is none of this tool's.

        """
        ...

    def write(self, asked: Asked, out: Path) -> list[str]:
        """Write what a run asks, as a whole, and return what to do next, one line each.

        Args:
            asked: what.
            out: file or folder to make.

        Raises:
            PipelineError: the data has no pictures, or they cannot be told apart.
            OSError: it cannot be written.

        """
        ...
