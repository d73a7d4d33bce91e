"""``labels.csv``: a list of images with their classes, checked line by line and taken whole or not at all."""

import csv
import io
from pathlib import Path
from typing import Literal

from trainer.data.listing import Listing, Sample, inside, is_image, require_plain
from trainer.errors import DataCorrupt, TrainerError

NAME = "labels.csv"
COLUMNS = {"path", "label"}
DELIMITERS = ",;\t"  # spreadsheets write the second in many languages
SHOWN = 5  # mistakes named in one message


def list_csv(root: Path) -> Listing:
    """Read the images that a root's ``labels.csv`` names.

    Args:
        root: the folder, resolved; paths in the list are relative to it.

    Returns:
        The images, sorted by path, each with its half where the list has a column for it.

    Raises:
        TrainerError: an unreadable list, or lines that are wrong; the message gives their numbers.

    """
    file = inside(root / NAME, root)
    text = _text(file)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=_delimiter(file, text), strict=True)
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    rows = _Rows(root, "split" in reader.fieldnames)
    try:
        for row in reader:
            rows.add(reader.line_num, row)
    except csv.Error as error:
        raise DataCorrupt(f"{file}: line {reader.line_num}: {error}; write the list again") from error
    if rows.problems:
        more = f"; and {len(rows.problems) - SHOWN} more" if len(rows.problems) > SHOWN else ""
        raise TrainerError(f"{file}: {'; '.join(rows.problems[:SHOWN])}{more}")
    return _checked(file, rows)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataCorrupt(f"{file} is not UTF-8 (byte {error.start}); save it as 'CSV UTF-8'") from error
    except OSError as error:
        raise DataCorrupt(f"{file} cannot be read ({error.strerror}); check the path and its rights") from error


def _delimiter(file: Path, text: str) -> str:
    """Return what separates the columns of the first line."""
    header = text.partition("\n")[0]
    for delimiter in DELIMITERS:
        names = {name.strip().strip('"').strip().lower() for name in header.split(delimiter)}
        if names >= COLUMNS:
            return delimiter
    raise DataCorrupt(
        f"{file}: line 1: expected the columns path,label and optionally split, found {header.strip()[:80]!r}; "
        "begin the list with their names"
    )


class _Rows:
    """The lines of a list so far: samples, and what is wrong with the others."""

    def __init__(self, root: Path, splits: bool) -> None:
        self.root, self.splits = root, splits
        self.samples: list[Sample] = []
        self.problems: list[str] = []
        self._lines: dict[Path, int] = {}

    def add(self, line: int, row: dict[str, str | None]) -> None:
        """Take one line, or note what is wrong with it."""
        try:
            self.samples.append(self._sample(line, row))
        except (TrainerError, OSError, ValueError) as error:
            self.problems.append(f"line {line}: {' '.join(str(error).split())}")

    def _sample(self, line: int, row: dict[str, str | None]) -> Sample:
        name, label = (row["path"] or "").strip(), (row["label"] or "").strip()
        if not name or not label or None in row:
            wrong = "more values than columns" if None in row else f"no {'label' if name else 'path'}"
            raise TrainerError(f"it has {wrong}")
        require_plain(name)
        require_plain(label)
        target = inside(self.root / name, self.root)
        if not target.is_file():
            raise TrainerError(f"there is no file {name!r} under {self.root}")
        if not is_image(name):
            raise TrainerError(f"{name!r} has no extension of an image")
        first = self._lines.setdefault(target, line)
        if first != line:
            raise TrainerError(f"{name!r} was listed before, in line {first}")
        return Sample(target.relative_to(self.root).as_posix(), label, self._split(row))

    def _split(self, row: dict[str, str | None]) -> Literal["train", "test"] | None:
        split = (row.get("split") or "").strip().lower()
        if not self.splits:
            return None
        if split == "train":
            return "train"
        if split == "test":
            return "test"
        raise TrainerError(f"split must be train or test, got {split!r}")


def _checked(file: Path, rows: _Rows) -> Listing:
    samples = sorted(rows.samples)
    if not samples:
        raise DataCorrupt(f"{file} lists no images; add a line for each")
    for half in ("train", "test") if rows.splits else ():
        if all(sample.split != half for sample in samples):
            raise TrainerError(f"{file}: no image has the split {half}; give some, or leave the column out")
    return Listing(rows.root, samples)
