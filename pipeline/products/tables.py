"""Tables for people and their tools: UTF-8 with a mark, safe in a spreadsheet, written row by row."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from common.files import replacing
from pipeline.files import naming


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> int:
    """Write a table as a whole or not at all, and return how many rows it has.

    Args:
        path: the file.
        columns: their names.
        rows: their cells in this order, texts already safe; held one at a time.

    """
    count = 0
    with naming(path), replacing(path) as stream:
        text = io.TextIOWrapper(stream, "utf-8-sig", newline="", write_through=True)  # spreadsheets know UTF-8 by it
        table = csv.writer(text)
        table.writerow(columns)
        for row in rows:
            table.writerow(row)
            count += 1
        text.detach()
    return count
