"""``labels.csv``: a list of images with their classes, checked line by line and taken whole or not at all."""

import csv
import io
from pathlib import Path
from typing import Literal

from common.cells import declared, plain_text
from common.files import sha256_of
from common.reading import read_text, why
from trainer.data.custom import listed
from trainer.data.labels import means_unlabelled, require_plain
from trainer.data.listing import LAYOUT, Listing, inside, is_image, list_all
from trainer.errors import DataCorrupt, DataNotFound, TrainerError

NAME = "labels.csv"
COLUMNS = {"path", "label"}
DELIMITERS = ",;\t"  # spreadsheets write the second in many languages
SHOWN = 5  # mistakes named in one message


def list_csv(root: Path, classes: tuple[str, ...] | None = None, leave_out: tuple[str, ...] = ()) -> Listing:
    """Read the images that a root's ``labels.csv`` names, and find the others; these have no label.

    Args:
        root: the folder, resolved; paths in the list are relative to it.
        classes: names that labels must have; None takes those that are listed.
        leave_out: labels whose images are passed over.

    Returns:
        The images, sorted by path, each with its half where the list has a column for it.

    Raises:
        TrainerError: an unreadable list, or lines that are wrong; the message gives their numbers.

    """
    file = inside(root / NAME, root)
    text = _text(file)
    mark, text = declared(text)
    before = mark is not None
    reader = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=_delimiter(file, text, mark or DELIMITERS), strict=True
    )
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    if twice := next((name for name in (*sorted(COLUMNS), "split") if reader.fieldnames.count(name) > 1), ""):
        raise DataCorrupt(f"{file}: line {1 + before}: expected one column {twice}, found {twice} more than once")
    listing = Listing(root, classes, leave_out, labels_file=sha256_of(file))
    rows = _Rows(listing, "split" in reader.fieldnames)
    try:
        for row in reader:
            rows.add(reader.line_num + before, row)
    except csv.Error as error:
        raise DataCorrupt(f"{file}: line {reader.line_num + before}: {error}; write the list again") from error
    if rows.problems:
        more = f"; and {len(rows.problems) - SHOWN} more" if len(rows.problems) > SHOWN else ""
        raise TrainerError(f"{file}: {'; '.join(rows.problems[:SHOWN])}{more}")
    return _checked(file, rows)


def _text(file: Path) -> str:
    try:
        return read_text(file, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataCorrupt(f"{file} is not UTF-8 (byte {error.start}); save it as 'CSV UTF-8'") from error
    except OSError as error:
        raise DataCorrupt(f"{file} cannot be read ({why(error)}); check the path and its rights") from error


def _delimiter(file: Path, text: str, delimiters: str) -> str:
    """Return what separates the columns of the first line."""
    header = text.partition("\n")[0]
    for delimiter in delimiters:
        names = {name.strip().strip('"').strip().lower() for name in header.split(delimiter)}
        if names >= COLUMNS:
            return delimiter
    raise DataCorrupt(
        f"{file}: line 1: expected the columns path,label and optionally split, found {header.strip()[:80]!r}; "
        "begin the list with their names"
    )


def _perhaps(root: Path, name: str) -> str:
    """How a path that leads nowhere may have been meant: as Windows writes it, or from the folder above."""
    meant = name.replace("\\", "/").removeprefix("./")
    for written in (meant, meant.removeprefix(f"{root.name}/")):
        if written != name and (root / written).is_file():
            return f", but {written!r}: write it so"
    return ""


class _Rows:
    """The lines of a list so far: samples, and what is wrong with the others."""

    def __init__(self, found: Listing, splits: bool) -> None:
        self.found, self.splits = found, splits
        self.problems: list[str] = []
        self.passed = set[str]()  # names of images that are left out
        self._lines: dict[Path, int] = {}

    def add(self, line: int, row: dict[str, str | None]) -> None:
        """Take one line, or note what is wrong with it."""
        try:
            self._add(line, row)
        except (TrainerError, OSError, ValueError) as error:
            self.problems.append(f"line {line}: {' '.join(str(error).split())}")

    def _add(self, line: int, row: dict[str, str | None]) -> None:
        name, written, root = (row["path"] or "").strip(), row["label"], self.found.root
        if not name or written is None or None in row:
            wrong = "no path" if not name else f"{'fewer' if written is None else 'more'} values than columns"
            raise TrainerError(f"it has {wrong}")
        written = plain_text(written.strip())
        require_plain(name)
        require_plain(written)
        target = inside(root / name, root)
        if not target.is_file():
            raise TrainerError(f"there is no file {name!r} under {root}{_perhaps(root, name)}")
        if not is_image(name):
            raise TrainerError(f"{name!r} has no extension of an image")
        first = self._lines.setdefault(target, line)
        if first != line:
            raise TrainerError(f"{name!r} was listed before, in line {first}")
        if written in self.found.leave_out:
            self.found.left_out[written] += 1
            self.passed.add(target.relative_to(root).as_posix())
            return
        label = self._label(written)
        why = f"marked {written!r} in {NAME}" if written else f"blank in {NAME}"
        self.found.add([target.relative_to(root).as_posix()], label, self._split(row, label), why)

    def _label(self, written: str) -> str | None:
        classes = self.found.classes
        if means_unlabelled(written, classes):
            return None
        if classes is not None and written not in classes:
            raise TrainerError(f"the label {written!r} is none of the classes {listed(classes)}")
        return written

    def _split(self, row: dict[str, str | None], label: str | None) -> Literal["train", "test"] | None:
        split = (row.get("split") or "").strip().lower()
        if not self.splits:
            return None
        if split == "train" or (not split and label is None):
            return "train"
        if split == "test" and label is None:
            raise TrainerError("it has the split test but no label; label it, or give it the split train")
        if split == "test":
            return "test"
        raise TrainerError(f"split must be train or test, got {split!r}")


def _checked(file: Path, rows: _Rows) -> Listing:
    """Add what lies under the root and is not listed, and put all in order."""
    found = rows.found
    found.require_left_out()
    here = {sample.name for sample in found.samples} | rows.passed
    half: Literal["train"] | None = "train" if rows.splits else None
    found.add([name for name in list_all(found.root) if name not in here], None, half, f"not in {NAME}")
    if not found.samples:
        raise DataNotFound(f"{file} lists no images, and {found.root} holds none; {LAYOUT}")
    if rows.splits and all(sample.split != "train" for sample in found.samples):
        raise TrainerError(f"{file}: no image has the split train; give some, or leave the column out")
    found.samples.sort(key=lambda sample: sample.name)
    return found
