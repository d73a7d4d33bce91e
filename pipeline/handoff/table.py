"""A table for a spreadsheet: one row a question, and one row an answer."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.cells import declared, safe_path
from pipeline.errors import PipelineError
from pipeline.files import write_atomically
from pipeline.handoff.base import Asked, Given, Handed, Row

COLUMNS = ("sample_id", "path", "label", "annotator", "seconds", "status")
DELIMITERS = ",;\t"


class Table:
    """A spreadsheet's table, whatever its delimiter and line ends."""

    name = "table"
    title = "a spreadsheet"

    def reads(self, given: Given) -> bool:
        """Tell whether a file may be one; anything that is a text may."""
        return not given.is_zip

    def read(self, given: Given) -> Handed:
        """Return its rows; those without a label are not answered."""
        return Handed(rows_of(given, ("sample_id", "path")))

    def write(self, asked: Asked, out: Path) -> list[str]:
        """Write one row a question."""
        text = io.StringIO()
        table = csv.DictWriter(text, COLUMNS, restval="")
        table.writeheader()
        path = asked.data.sample_path
        table.writerows({"sample_id": sample, "path": safe_path(path("train", sample))} for sample in asked.samples)
        write_atomically(out, text.getvalue().encode("utf-8-sig"))  # the mark lets spreadsheets read it as UTF-8
        return []


def rows_of(given: Given, keys: Sequence[str], whole: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the rows of a table.

    Args:
        given: the file.
        keys: columns of which it needs one, beside ``label``.
        whole: columns whose blanks at both ends are kept, as those of a file's name may be its own.

    Raises:
        PipelineError: it is no such table.

    """
    path, (mark, lines) = given.path, declared(given.text)
    delimiter, header = header_of(given)
    before = mark is not None
    if "label" not in header or not set(keys) & set(header) or len(set(header)) != len(header):
        got = ", ".join(header) or "of an empty file"
        raise PipelineError(
            f"{path}: expected a table with the columns {' or '.join(keys)}, and label; got the columns {got}"
        )
    reader = csv.reader(io.StringIO(lines), delimiter=delimiter, strict=True)
    try:
        next(reader)
        for cells in reader:
            row = [cell.strip() for cell in cells]
            if any(row):
                if len(row) > len(header) and any(row[len(header) :]):
                    expected = f"{len(header)} cells as in the first line"
                    raise PipelineError(f"{path}: line {reader.line_num + before}: expected {expected}, got {len(row)}")
                kept = {name: cell for name, cell in zip(header, cells, strict=False) if name in whole}
                yield Row(f"line {reader.line_num + before}", dict(zip(header, row, strict=False)) | kept)
    except csv.Error as error:
        raise PipelineError(f"{path}: line {reader.line_num + before}: expected a row of a table ({error})") from error


def header_of(given: Given) -> tuple[str, Sequence[str]]:
    """Return the delimiter that makes most columns of the first line, and these columns in lower case.

    Args:
        given: the file.

    """
    declares, text = declared(given.text)
    marks = DELIMITERS if declares is None else (declares,)
    line = text.partition("\n")[0]
    try:
        found = {
            mark: [cell.strip().casefold() for cell in next(csv.reader([line], delimiter=mark), [])] for mark in marks
        }
    except csv.Error:  # a cell without an end
        return ",", []
    best = max(marks, key=lambda mark: len(found[mark]))
    return best, [cell for cell in found[best] if cell]
