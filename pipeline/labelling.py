"""Labels by files: a run's open questions as a table, and a table of answers back into the run, whole or not at all."""

import csv
import io
import math
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from common.cells import safe_path
from common.naming import one_of
from common.reading import LARGEST_TEXT, read_regular, why
from pipeline.annotators import Answer, Skip
from pipeline.errors import PipelineError
from pipeline.files import write_atomically
from pipeline.run.pool import Pool
from pipeline.run.rounds import Rounds
from trainer.data import DataSet
from trainer.data.labels import shown_apart, taken_for

COLUMNS = ("sample_id", "path", "label", "annotator", "seconds", "status")
ANNOTATOR = "files"
"""Who answered, where a file does not say."""
LABELLED, SKIPPED = ("", "labeled", "labelled"), ("skipped", "skip")
DELIMITERS = ",;\t"
MOST_SHOWN = 20
"""Bad rows that a refusal lists; the others are counted."""


class Taken(NamedTuple):
    """What a file of answers brought.

    Args:
        labels: new ones.
        skips: new ones.
        known: rows that said what was known already.
        left: samples of the round that still have no answer.

    """

    labels: int
    skips: int
    known: int
    left: int


def open_round(pool: Pool) -> int:
    """Return the round that asks now.

    Args:
        pool: of the run.

    Raises:
        PipelineError: none does.

    """
    round_ = max(pool.queries, default=None)
    if round_ is None or pool.closed(round_):
        raise PipelineError("the run asks nothing now: expected a run that waits for labels; 'pipeline resume' goes on")
    return round_


def open_questions(pool: Pool) -> list[int]:
    """Return what a run asks now and nobody has answered, with what people answered differently, in rank order.

    Args:
        pool: of the run.

    Raises:
        PipelineError: the run asks nothing.

    """
    return pool.unanswered(open_round(pool))


def write_questions(pool: Pool, data: DataSet, path: Path) -> int:
    """Write what a run asks and nobody has answered, as a table for a spreadsheet, and return how many rows.

    Args:
        pool: of the run.
        data: its data.
        path: the file.

    Raises:
        PipelineError: the run asks nothing.
        OSError: it cannot be written.

    """
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, restval="")
    table.writeheader()
    samples = open_questions(pool)
    table.writerows({"sample_id": sample, "path": safe_path(data.sample_path("train", sample))} for sample in samples)
    write_atomically(path, text.getvalue().encode("utf-8-sig"))  # the mark lets spreadsheets read it as UTF-8
    return len(samples)


def take_in(
    rounds: Rounds, data: DataSet, path: Path, annotator: str = ANNOTATOR, *, new_classes: bool = False
) -> Taken:
    """Record the answers of a file: all of them, or none where a row is wrong; the same file again changes nothing.

    Args:
        rounds: of the open run.
        data: its data.
        path: a table with the columns ``sample_id`` or ``path``, ``label``, and perhaps ``annotator``, ``seconds`` and
            ``status``; rows without a label are not answered.
        annotator: who answered, where the file does not say.
        new_classes: whether labels that are no class yet become classes, in the order in which they come.

    Raises:
        PipelineError: it is no such table, or rows are wrong; the message lists them.

    """
    pool = rounds.pool
    round_ = open_round(pool)
    said, wrong = list[Answer | Skip](), list[str]()
    reader = _Reader(rounds, data, round_, annotator, new_classes)
    for number, row in _rows(path):
        try:
            if (one := reader.read(row)) is not None:
                said.append(one)
        except PipelineError as error:
            wrong.append(f"line {number}: {error}")
    if wrong:
        more = [f"and {len(wrong) - MOST_SHOWN} more"] if len(wrong) > MOST_SHOWN else []
        lines = "\n  ".join([*wrong[:MOST_SHOWN], *more])
        raise PipelineError(f"{path}: nothing was taken in, for {len(wrong)} of its rows are wrong\n  {lines}")
    rounds.add_classes(round_, reader.added)
    fresh = rounds.record(round_, said)
    labels = sum(isinstance(one, Answer) for one in fresh)
    return Taken(labels, len(fresh) - labels, len(said) - len(fresh), len(open_questions(pool)))


class _Reader:
    """Turns rows into answers, and remembers what other rows said."""

    def __init__(self, rounds: Rounds, data: DataSet, round_: int, annotator: str, new_classes: bool) -> None:
        pool = rounds.pool
        self._annotator, self._round, self._pool, self._new_classes = annotator, round_, pool, new_classes
        self.added: list[str] = []
        self._asked = {sample for earlier, ids in pool.queries.items() if earlier <= round_ for sample in ids}
        self._by_path = {_plain(data.sample_path("train", sample)): sample for sample in self._asked}
        self._labels = {name: label for label, name in enumerate(rounds.classes)}
        self._before: dict[tuple[int, str], str] = {}

    def read(self, row: dict[str, str]) -> Answer | Skip | None:
        """Return what a row says; None where it is not answered.

        Args:
            row: its cells by column.

        Raises:
            PipelineError: what is wrong with it.

        """
        sample = self._sample(row)
        label, status = row.get("label", ""), row.get("status", "").casefold()
        who = row.get("annotator", "") or self._annotator
        if status not in (*LABELLED, *SKIPPED):
            raise PipelineError(f"status: expected labeled, skipped or nothing, got {row['status']!r}")
        said = "skipped" if status in SKIPPED else label
        if not said:
            return None
        if (before := self._before.setdefault((sample, who), said)) != said:
            raise PipelineError(f"sample {sample}: expected one answer of {who}, got {before!r} and {said!r}")
        if status in SKIPPED:
            if label:
                raise PipelineError(f"sample {sample}: expected a label or a skip, got both")
            return Skip(sample, who)
        if label not in self._labels:
            if (meant := taken_for(label, [*self._labels])) is not None:
                raise PipelineError(f"label: {shown_apart(meant, label)} differ in spelling alone; spell both alike")
            if not self._new_classes:
                raise PipelineError(f"label: {one_of(label, self._labels)} (if it is a class, too: --new-classes)")
            self._labels[label] = len(self._labels)
            self.added.append(label)
        answer = Answer(sample, self._labels[label], who, _seconds(row.get("seconds", "")))
        earlier = self._pool.said(sample, who, self._round)
        if earlier not in (None, answer.label):
            name = next(name for name, number in self._labels.items() if number == earlier)
            raise PipelineError(f"sample {sample}: {who} called it {name!r} in this round, and now {label!r}")
        return answer

    def _sample(self, row: dict[str, str]) -> int:
        given, path = row.get("sample_id", ""), row.get("path", "")
        if given and not (given.isascii() and given.isdigit()):
            raise PipelineError(f"sample_id: expected a whole number, got {given!r}")
        if not given and not path:
            raise PipelineError("expected a sample_id or a path, got neither")
        if path and _plain(path) not in self._by_path:
            raise PipelineError(f"path: the run never asked for {path!r}")
        sample = int(given) if given else self._by_path[_plain(path)]
        if sample not in self._asked:
            raise PipelineError(f"sample_id: the run never asked for {sample}")
        if path and self._by_path[_plain(path)] != sample:
            raise PipelineError(f"sample {sample} is not {path!r}, which is sample {self._by_path[_plain(path)]}")
        return sample


def _seconds(text: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text.replace(",", "."))
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise PipelineError(f"seconds: expected a number of at least 0, got {text!r}")
    return seconds


def _plain(path: str) -> str:
    """A path as any system may write it: composed letters, forward slashes; ``./`` is how one that a spreadsheet would
    take for a formula begins.
    """
    return unicodedata.normalize("NFC", path).replace("\\", "/").removeprefix("./")


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a spreadsheet's table with their line numbers, whatever its delimiter and line ends."""
    expected = f"{path}: expected a table with the columns sample_id or path, and label"
    try:
        content = read_regular(path, LARGEST_TEXT)
    except OSError as error:
        raise PipelineError(f"{path}: expected a file of labels, but it cannot be read ({why(error)})") from error
    try:
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise PipelineError(f"{expected}, in UTF-8; got another encoding: save it as 'CSV UTF-8'") from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    delimiter, header = _header(lines.partition("\n")[0])
    if "label" not in header or not {"sample_id", "path"} & set(header) or len(set(header)) != len(header):
        raise PipelineError(f"{expected}; got the columns {', '.join(header) or 'of an empty file'}")
    reader = csv.reader(io.StringIO(lines), delimiter=delimiter, strict=True)
    try:
        next(reader)
        for cells in reader:
            row = [cell.strip() for cell in cells]
            if any(row):
                if len(row) > len(header) and any(row[len(header) :]):
                    expected = f"{len(header)} cells as in the first line"
                    raise PipelineError(f"{path}: line {reader.line_num}: expected {expected}, got {len(row)}")
                yield reader.line_num, dict(zip(header, row, strict=False))
    except csv.Error as error:
        raise PipelineError(f"{path}: line {reader.line_num}: expected a row of a table ({error})") from error


def _header(line: str) -> tuple[str, Sequence[str]]:
    """Return the delimiter that makes most columns of the first line, and these columns."""
    found = {
        mark: [cell.strip().casefold() for cell in next(csv.reader([line], delimiter=mark), [])] for mark in DELIMITERS
    }
    best = max(DELIMITERS, key=lambda mark: len(found[mark]))
    return best, [cell for cell in found[best] if cell]
