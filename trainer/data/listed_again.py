"""A folder of images that was listed before: the same images with the same labels, whatever was put beside them."""

from collections.abc import Sequence
from pathlib import Path

from common.files import sha256_of
from trainer.data.custom import counted, listed
from trainer.data.labels_csv import NAME
from trainer.data.listed import Listed, Sample
from trainer.data.listing import Listing, list_all
from trainer.errors import DataCorrupt, DataNotFound


def beside(root: Path, samples: Sequence[Sample]) -> tuple[str, ...]:
    """Return the images under a root that are none of its samples.

    Args:
        root: the folder, resolved.
        samples: its own.

    """
    own = {sample.name for sample in samples}
    return tuple(name for name in list_all(root) if name not in own)


def gone_from(root: Path, before: Listed) -> list[str]:
    """Return the images that a folder held and has no more.

    Args:
        root: the folder.
        before: what it held.

    """
    unreadable = {*before.unreadable}
    return [s.name for s in before.samples if s.name not in unreadable and not (root / s.name).is_file()]


def list_again(root: Path, before: Listed) -> Listing:
    """Return a folder's images as they were listed before, and say where its ``labels.csv`` is another now.

    Args:
        root: the folder, resolved.
        before: what it held.

    Raises:
        DataNotFound: some of the images are gone.

    """
    if gone := gone_from(root, before):
        raise DataNotFound(f"{counted(len(gone), 'image')} of {root} cannot be found any more ({listed(gone)})")
    since: tuple[str, ...] = ()
    file = root / NAME
    if file.is_file() and sha256_of(file) != before.labels_file:
        what = "is new" if before.labels_file is None else "was changed"
        since = (f"{file} {what} since this run began, which does not read it: its own record has its labels",)
    return Listing(root, before.classes, samples=[*before.samples], labels_file=before.labels_file, since=since)


def require_readable(root: Path, before: Listed, skipped: dict[str, str]) -> None:
    """Refuse a folder in which other files can be read than could be before.

    Args:
        root: the folder.
        before: what it held.
        skipped: why files cannot be read now, by name.

    Raises:
        DataCorrupt: some cannot be read any more, or can be now.

    """
    if lost := sorted(skipped.keys() - {*before.unreadable}):
        reasons = ", ".join(f"{name} ({skipped[name]})" for name in lost[:3])
        raise DataCorrupt(
            f"{counted(len(lost), 'image')} under {root} that it began with cannot be read any more, {reasons}: "
            "restore them"
        )
    if healed := sorted({*before.unreadable} - skipped.keys()):
        raise DataCorrupt(
            f"{counted(len(healed), 'image')} under {root} that could not be read before can be now "
            f"({listed(healed)}): move them elsewhere, or begin a new run"
        )
