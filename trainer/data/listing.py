"""Which files a user's folder of images holds, what they show, and which half they belong to; none is opened here."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common.naming import did_you_mean
from trainer.data.custom import counted, listed, unlabelled_note
from trainer.data.doubtful import doubt
from trainer.data.labels import means_unlabelled, require_plain, shown_apart, taken_for
from trainer.data.listed import Half, Sample
from trainer.errors import DataNotFound, TrainerError

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
PICTURES = frozenset({".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".svg", ".pdf", ".dcm", ".dng", ".cr2", ".cr3",
                      ".nef", ".arw", ".orf", ".rw2", ".raf", ".raw", ".ppm", ".pgm", ".jfif"})  # fmt: skip
"""Of what is a picture to a person, and is not read here."""
OTHER_SPLITS = frozenset({"test", "val", "valid", "validation", "dev"})
LAYOUT = "expected images, a folder of them for each class (PATH/cat/1.png), or PATH/labels.csv with columns path,label"
LOOSE = "in no class folder"


@dataclass
class Listing:
    """What was found under a root.

    Args:
        root: the resolved folder.
        classes: names that the user gave; None takes those found.
        samples: the images, sorted by name.
        others: files that are hidden or no images.
        pictures: those among them that are pictures to a person, by the end of their names.
        useless: images of a test half without a label.
        empty: class folders without images.
        leave_out: names of classes whose images are left out.
        left_out: how many images were, by class.
        unlabelled: why images have no label, and how many.
        doubt: why folders that are taken for classes may be none.
        lenient: whether links and strange names are passed over, as nobody asked for just these files.
        labels_file: SHA-256 of the ``labels.csv`` that it was read from; None where that had no part in it.
        since: what is to be said of how the folder changed since it was first listed.

    """

    root: Path
    classes: tuple[str, ...] | None = None
    leave_out: tuple[str, ...] = ()
    samples: list[Sample] = field(default_factory=list)
    others: int = 0
    pictures: Counter[str] = field(default_factory=Counter)
    useless: int = 0
    empty: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    unlabelled: Counter[str] = field(default_factory=Counter)
    doubt: str = ""
    lenient: bool = False
    labels_file: str | None = None
    since: tuple[str, ...] = ()

    def add(self, names: Iterator[str] | list[str], label: str | None, split: Half, why: str = LOOSE) -> None:
        """Take images of one class, or without a label; the latter are of no use for testing.

        Args:
            names: relative to the root.
            label: name of the class.
            split: their half.
            why: they have no label.

        """
        for name in names:
            if label is None and split == "test":
                self.useless += 1
                continue
            self.samples.append(Sample(name, label, split))
            if label is None:
                self.unlabelled[why] += 1

    def pass_over(self, name: str) -> None:
        """Count a file that is no image here.

        Args:
            name: its own.

        """
        self.others += 1
        ending = Path(name).suffix.lower()
        if ending in PICTURES:
            self.pictures[ending] += 1

    def unread(self) -> str:
        """Return how many pictures are of kinds that are not read, to be added to a message; nothing for none."""
        kinds = ", ".join(f"{count:,} {ending}" for ending, count in sorted(self.pictures.items()))
        return f", among them pictures of kinds that are not read: {kinds}; save them as JPEG or PNG" if kinds else ""

    def require_left_out(self) -> None:
        """Refuse the name of a class that is to be left out and is not there: a misspelt one, as a rule.

        Raises:
            TrainerError: there is one.

        """
        missing = [name for name in self.leave_out if name not in self.left_out]
        if missing:
            there = sorted({sample.label for sample in self.samples if sample.label is not None})
            raise TrainerError(
                f"leave_out: expected classes of {self.root}, got {listed(missing)}; there are {listed(there)}"
                f"{did_you_mean(missing[0], there)}"
            )

    def notes(self, left_out: bool) -> tuple[str, ...]:
        """Return what was left out and what has no label, one sentence each.

        Args:
            left_out: whether what has no label is left out.

        """
        notes = [*self.since]
        if self.others:
            ignored = f"ignored {counted(self.others, 'file')} under {self.root}: hidden, or no image"
            notes.append(f"{ignored}{self.unread()}")
        if self.useless:
            notes.append(f"ignored {counted(self.useless, 'test image')} under {self.root}: without a label")
        if self.left_out:
            shown = ", ".join(f"{counted(count, 'image')} of {name!r}" for name, count in self.left_out.items())
            notes.append(f"left out {shown} under {self.root}, as asked")
        if self.doubt:
            notes.append(self.doubt)
        if self.unlabelled:
            total = sum(sample.label is not None for sample in self.samples) + self.unlabelled.total()
            notes.append(unlabelled_note(f"images under {self.root}", total, self.unlabelled, left_out))
        return tuple(notes)


def list_classes(root: Path, classes: tuple[str, ...] | None = None, leave_out: tuple[str, ...] = ()) -> Listing:
    """Find every image in the class folders of a root, or in those of its ``train`` and ``test``.

    An image in no class folder has no label, nor has one in a folder whose name says so (``unlabelled``) or, where the
    classes are given, is none of them.

    Args:
        root: the folder, resolved.
        classes: names of the classes; None takes the folders'.
        leave_out: names of class folders that are passed over.

    Returns:
        The images, sorted by path, and how many files were left out.

    Raises:
        TrainerError: an empty class, a folder that is neither class nor half, none that is to be left out, or a link
            out of the root.

    """
    found = Listing(root, classes, leave_out)
    loose, folders = _contents(root, found)
    passed = {name for name in folders if means_unlabelled(name, classes) or name in leave_out}
    lower = {name.lower(): name for name in folders if name not in passed}
    if set(lower) in ({"train", "test"}, {"train"}) and not set(lower) & set(classes or ()):
        found.add(loose, None, "train")
        _add_classes(found, root, [name for name in folders if name not in lower.values()], "train")
        for split in ("train", "test"):
            if split in lower:
                half = root / lower[split]
                unsorted, inner = _contents(half, found)
                found.add(unsorted, None, split)
                _add_classes(found, half, inner, split)
        _require_same_classes(found, "test" in lower)
    elif "train" in lower and OTHER_SPLITS & set(lower):
        raise TrainerError(
            f"{root} has a folder train beside {listed(sorted(set(folders) - {lower['train']}))}; expected exactly "
            "train and test, or one folder for each class: rename, merge or remove the others, or write a labels.csv"
        )
    else:
        found.add(loose, None, None)
        _add_classes(found, root, folders, None)
    found.require_left_out()
    if found.empty and not found.unlabelled:
        raise TrainerError(
            f"{root / found.empty[0]} holds no images, so it is no class{found.unread()}; add some, or remove "
            "the folder"
        )
    if not found.samples:
        raise DataNotFound(f"{root} holds no images{found.unread()}; {LAYOUT}")
    found.samples.sort(key=lambda sample: sample.name)
    if classes is None:
        found.doubt = doubt(_from_class(sample.name, sample.label) for sample in found.samples if sample.label)
    return found


def _from_class(name: str, label: str) -> tuple[str, str]:
    """Return the class folder of an image, and its path from there; the half may stand before."""
    first, _, rest = name.partition("/")
    return (label, rest) if first == label else (label, rest.partition("/")[2])


def list_all(root: Path) -> list[str]:
    """Return the sorted paths, relative to a root, of all images anywhere below it, passing over what cannot be used.

    Args:
        root: the folder, resolved.

    Raises:
        DataNotFound: a folder that cannot be listed.

    """
    return sorted(_images(root, Listing(root, lenient=True)))


def is_image(name: str) -> bool:
    """Whether a file's extension is one of an image that can be read, in upper or lower case."""
    return Path(name).suffix.lower() in EXTENSIONS


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


def _contents(parent: Path, found: Listing) -> tuple[list[str], list[str]]:
    """Return the images in a folder itself, relative to the root, and its folders; count what else is there."""
    images, folders = [], []
    for entry in _entries(parent, found):
        if entry.is_dir():
            folders.append(entry.name)
        elif is_image(entry.name) and entry.is_file():
            images.append(Path(entry.path).relative_to(found.root).as_posix())
        else:
            found.pass_over(entry.name)
    return images, folders


def _add_classes(found: Listing, parent: Path, folders: list[str], split: Half) -> None:
    for name in folders:
        images = list(_images(parent / name, found))
        if name in found.leave_out:
            found.left_out[name] += len(images)
            continue
        if means_unlabelled(name, found.classes) or (found.classes is not None and name not in found.classes):
            _require_no_misspelling(found, parent / name)
            found.add(images, None, split, f"in the folder {name!r}")
            continue
        if not images:
            found.empty.append((parent / name).relative_to(found.root).as_posix())
        found.add(images, name, split)


def _require_no_misspelling(found: Listing, folder: Path) -> None:
    """Refuse a folder that differs from a class in spelling alone: its images would lose their label."""
    if name := taken_for(folder.name, found.classes or ()):
        apart = shown_apart(folder.name, name)
        raise TrainerError(f"{folder.parent}: folder and class {apart} differ in spelling alone; spell them alike")


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
                found.pass_over(entry.name)


def _entries(folder: Path, found: Listing) -> Iterator[os.DirEntry[str]]:
    """Yield what is visible in a folder, by name; links must stay under the root, and none may lead to a folder."""
    try:
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataNotFound(f"{folder} cannot be listed ({error.strerror}); check the path and its rights") from error
    for entry in ordered:
        hidden = entry.name.startswith(".") or entry.name == "__MACOSX"
        if hidden or (found.lenient and not _plain_entry(entry)):
            found.others += 1
            continue
        require_plain(entry.name)
        if entry.is_symlink():
            inside(Path(entry.path), found.root)
            if entry.is_dir():
                raise TrainerError(f"{entry.path} is a link to a folder; copy the images, or list them in labels.csv")
        yield entry


def _plain_entry(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is no link, which may be an image twice, and has a name that can be written down."""
    try:
        require_plain(entry.name)
    except TrainerError:
        return False
    return not entry.is_symlink()


def _require_same_classes(found: Listing, tests: bool) -> None:
    """Refuse a test class without training images: a misspelt folder, as a rule."""
    of = {half: {s.label for s in found.samples if s.split == half and s.label} for half in ("train", "test")}
    if tests and not of["test"]:
        raise DataNotFound(
            f"{found.root}: the half test holds no class folders; test images need labels: put them into class "
            "folders, or move them elsewhere"
        )
    if not any(sample.split == "train" for sample in found.samples):
        raise DataNotFound(f"{found.root}: the half train holds no images; {LAYOUT}")
    declared = {Path(name).name for name in found.empty} | set(found.classes or ()) | of["train"]
    unknown = sorted(of["test"] - declared)
    if unknown and of["train"]:
        raise TrainerError(
            f"{found.root}: the test half has images of {listed(unknown)}, the training half has none; name the class "
            "folders alike in both"
        )
