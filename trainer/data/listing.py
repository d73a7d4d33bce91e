"""Which files a user's folder of images holds, what they show, and which half they belong to; none is opened here."""

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from trainer.data.custom import counted, listed
from trainer.errors import DataNotFound, TrainerError

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
OTHER_SPLITS = frozenset({"test", "val", "valid", "validation", "dev"})
LAYOUT = "expected a folder for each class (PATH/cat/1.png), or PATH/labels.csv with the columns path,label"
CONTROL = frozenset({"Cc", "Cs", "Zl", "Zp"})  # Unicode categories that would break a line of a log or a table


class Sample(NamedTuple):
    """One image that is to be read.

    Args:
        name: path relative to the root, with slashes.
        label: name of its class.
        split: the half it belongs to; None where the data does not say.

    """

    name: str
    label: str
    split: Literal["train", "test"] | None


@dataclass
class Listing:
    """What was found under a root.

    Args:
        root: the resolved folder.
        samples: the images, sorted by name.
        others: files that are hidden or no images.
        loose: images outside of every class folder.

    """

    root: Path
    samples: list[Sample] = field(default_factory=list)
    others: int = 0
    loose: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, one sentence each."""
        notes = []
        if self.others:
            notes.append(f"ignored {counted(self.others, 'file')} under {self.root}: hidden, or no image")
        if self.loose:
            notes.append(f"ignored {counted(self.loose, 'image')} under {self.root}: in no class folder")
        return tuple(notes)


def list_classes(root: Path) -> Listing:
    """Find every image in the class folders of a root, or in those of its ``train`` and ``test``.

    Args:
        root: the folder, resolved.

    Returns:
        The images, sorted by path, and how many files were left out.

    Raises:
        TrainerError: no classes, an empty class, a folder that is neither class nor half, or a link out of the root.

    """
    found = Listing(root)
    folders = _folders(root, found)
    lower = {name.lower(): name for name in folders}
    if set(lower) == {"train", "test"}:
        for split in ("train", "test"):
            half = root / lower[split]
            _add_classes(found, half, _folders(half, found), split)
        _require_same_classes(found)
    elif "train" in lower and OTHER_SPLITS & set(lower):
        raise TrainerError(
            f"{root} has a folder train beside {listed(sorted(set(folders) - {lower['train']}))}; expected exactly "
            "train and test, or one folder for each class: rename, merge or remove the others, or write a labels.csv"
        )
    else:
        _add_classes(found, root, folders, None)
    if not found.samples:
        lies = f"holds {counted(found.loose, 'image')} but no class folders" if found.loose else "holds no images"
        raise DataNotFound(f"{root} {lies}; {LAYOUT}")
    found.samples.sort()
    return found


def is_image(name: str) -> bool:
    """Whether a file's extension is one of an image that can be read, in upper or lower case."""
    return Path(name).suffix.lower() in EXTENSIONS


def require_plain(name: str) -> None:
    """Refuse a name that would break a line: control characters, line separators, bytes that are no UTF-8.

    Args:
        name: of a file or a class.

    Raises:
        TrainerError: it holds one.

    """
    if not name.isprintable() and any(unicodedata.category(letter) in CONTROL for letter in name):
        raise TrainerError(f"{name!a}: file names must be printable UTF-8 without control characters; rename it")


def inside(path: Path, root: Path) -> Path:
    """Return the file that a path leads to, refused when that is not under the root.

    Args:
        path: under the root, but perhaps a link.
        root: resolved.

    Raises:
        TrainerError: it leads out of the root.

    """
    try:
        target = path.resolve()
    except (OSError, RuntimeError) as error:  # a link that leads to itself
        raise TrainerError(f"{path} leads nowhere; remove the link or copy the file") from error
    if not target.is_relative_to(root):
        raise TrainerError(f"{path} leads out of {root}, to {target}; copy it into the folder instead")
    return target


def _folders(parent: Path, found: Listing) -> list[str]:
    """Return the names of the visible folders in one; count what else lies there."""
    folders = []
    for entry in _entries(parent, found):
        if entry.is_dir():
            folders.append(entry.name)
        elif is_image(entry.name):
            found.loose += 1
        else:
            found.others += 1
    return folders


def _add_classes(found: Listing, parent: Path, classes: list[str], split: Literal["train", "test"] | None) -> None:
    for label in classes:
        images = list(_images(parent / label, found))
        if not images:
            raise TrainerError(f"{parent / label} holds no images, so it is no class; add some, or remove the folder")
        found.samples += [Sample(name, label, split) for name in images]


def _images(folder: Path, found: Listing) -> Iterator[str]:
    """Yield the names, relative to the root, of all images anywhere below a folder."""
    waiting = [folder]
    while waiting:
        for entry in _entries(waiting.pop(), found):
            if entry.is_dir():
                waiting.append(Path(entry.path))
            elif is_image(entry.name) and entry.is_file():
                yield Path(entry.path).relative_to(found.root).as_posix()
            else:
                found.others += 1


def _entries(folder: Path, found: Listing) -> Iterator[os.DirEntry[str]]:
    """Yield what is visible in a folder, by name; links must stay under the root, and none may lead to a folder."""
    try:
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataNotFound(f"{folder} cannot be listed ({error.strerror}); check the path and its rights") from error
    for entry in ordered:
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            found.others += 1
            continue
        require_plain(entry.name)
        if entry.is_symlink():
            inside(Path(entry.path), found.root)
            if entry.is_dir():
                raise TrainerError(f"{entry.path} is a link to a folder; copy the images, or list them in labels.csv")
        yield entry


def _require_same_classes(found: Listing) -> None:
    """Refuse a test class without training images: a misspelt folder, as a rule."""
    halves = {half: {sample.label for sample in found.samples if sample.split == half} for half in ("train", "test")}
    for half, labels in halves.items():
        if not labels:
            raise DataNotFound(f"{found.root}: the half {half} holds no class folders; {LAYOUT}")
    unknown = sorted(halves["test"] - halves["train"])
    if unknown:
        raise TrainerError(
            f"{found.root}: the test half has images of {listed(unknown)}, the training half has none; name the class "
            "folders alike in both"
        )
