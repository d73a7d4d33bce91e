"""Hugging Face's ``imagefolder``: pictures, and ``metadata.csv`` or ``metadata.jsonl`` with a row for each."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.files import replacing_folder
from common.reading import parse_json, why
from pipeline.files import naming, write_atomically
from pipeline.handoff.base import Asked, Given, Handed, Row
from pipeline.handoff.names import picture_name
from pipeline.handoff.pictures import copy_pictures, require_pictures
from pipeline.handoff.table import header_of, rows_of

METADATA = "metadata.csv"
KEY = "file_name"
COLUMNS = (KEY, "label", "sample_id", "run_id")


class ImageFolder:
    """The files of a data set of pictures on the Hugging Face hub."""

    name = "imagefolder"
    title = "Hugging Face imagefolder"

    def reads(self, given: Given) -> bool:
        """Tell whether a file is a table or lines of JSON with ``file_name``."""
        if given.is_zip:
            return False
        if given.start == "{":
            return f'"{KEY}"' in given.text.lstrip().partition("\n")[0]
        return KEY in header_of(given)[1]

    def read(self, given: Given) -> Handed:
        """Return the label of every picture.

        Args:
            given: ``metadata.csv`` or ``metadata.jsonl``.

        Raises:
            PipelineError: it is neither.

        """
        if given.start == "{":
            return Handed(_lines(given))
        return Handed(row._replace(cells=_cells(row.cells)) for row in rows_of(given, (KEY,), (KEY,)))

    def write(self, asked: Asked, out: Path) -> list[str]:
        """Write the pictures, and metadata.csv with an empty label for each."""
        require_pictures(asked.data)
        text = io.StringIO()
        table = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
        table.writeheader()
        for sample in asked.samples:
            name = picture_name(asked.data, sample)
            table.writerow({KEY: name, "sample_id": sample, "run_id": asked.run_id})
        with naming(out), replacing_folder(out.absolute()) as folder:
            copy_pictures(asked.data, asked.samples, folder)
            write_atomically(folder / METADATA, text.getvalue())
        return [
            f"fill in the column 'label' of {out / METADATA}; in Python, "
            f"datasets.load_dataset('imagefolder', data_dir={str(out.absolute())!r}) opens it",
        ]


def _lines(given: Given) -> Iterator[Row]:
    for number, line in enumerate(given.text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"line {number}"
        try:
            value = parse_json(line)
        except ValueError as error:
            yield Row(where, {}, f"expected a JSON object, but it cannot be read ({why(error)})")
            continue
        cells = {key: value.get(key) for key in COLUMNS} if isinstance(value, dict) else {KEY: None}
        if not isinstance(cells[KEY], str):
            yield Row(where, {}, f"expected a JSON object with {KEY!r}")
        elif wrong := [key for key, cell in cells.items() if not _plain(cell)]:
            yield Row(where, {}, f"{wrong[0]}: expected a name or a number, got {str(cells[wrong[0]])[:60]}")
        else:
            text = {key: "" if cell is None else str(cell).strip() for key, cell in cells.items()}
            yield Row(where, _cells(text | {KEY: cells[KEY]}))


def _cells(row: Any) -> dict[str, str]:
    return {"picture": row.get(KEY, "")} | {key: row.get(key, "") for key in COLUMNS[1:]}


def _plain(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str | int) and not isinstance(cell, bool))
