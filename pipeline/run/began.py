"""The images that a run began with: a file beside its record, by which they are read so again whatever came since.

What decides is the digest in the run's first event; the file only says how to come to it, and what changed where that
fails.  A run without one, of an older version or killed before it was written, is read as its folder is now or, where
that is not it, without the folder's ``labels.csv``.
"""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.cells import safe_path
from common.reading import read_json
from pipeline.config import RunConfig
from pipeline.files import write_atomically
from pipeline.places import EVENTS
from pipeline.products.tables import write_table
from pipeline.run.events import Event, parse_events
from trainer.data import Before, DataSet, Listed
from trainer.data.custom import counted, listed
from trainer.data.folder import list_folder
from trainer.data.image_cache import INDEX
from trainer.data.labels_csv import NAME
from trainer.data.listed import Sample
from trainer.data.listed_again import gone_from
from trainer.data.listing import list_all
from trainer.errors import TrainerError

FILE = "data.json"
SAMPLES, COLUMNS = "samples.csv", ("sample_id", "path")
FORMAT = 1


@dataclass(frozen=True)
class Beginning:
    """The images that a run began with.

    Args:
        listed: how they were listed.
        digests: of each image's bytes as they were read, by name.

    """

    listed: Listed
    digests: dict[str, str]


def first_event(run: Path) -> Event | None:
    """Return how a run began; None where it has not.

    Args:
        run: its directory; it is only read.

    Raises:
        PipelineError: the first line of its log is damaged.

    """
    log = run / EVENTS
    if not log.is_file():
        return None
    with log.open("rb") as lines:
        events = parse_events(lines.readline(), log)[0]
    return events[0] if events else None


def write_beginning(run: Path, data: DataSet) -> None:
    """Note which images a run begins with, once; nothing where they are no files.

    Args:
        run: its directory.
        data: what it begins with.

    """
    if data.listed is None or read_beginning(run) is not None:
        return
    before, digests = data.listed, dict(_digests(data))
    files = [[*sample, digests.get(sample.name)] for sample in before.samples]
    stored = {
        "format": FORMAT,
        "classes": before.classes,
        "labels_file": before.labels_file,
        "unreadable": before.unreadable,
        "beside": before.beside,
        "files": files,
    }
    write_atomically(run / FILE, json.dumps(stored) + "\n")


def write_samples(run: Path, data: DataSet) -> None:
    """Write which file or row of a user's own each sample id of a run is, once; published data is numbered as it is.

    Args:
        run: its directory.
        data: what it begins with.

    """
    if _is_own(data) and not (run / SAMPLES).is_file():
        write_table(run / SAMPLES, COLUMNS, _sample_rows(data))


def faults_of_beginning(run: Path, data: DataSet) -> Iterator[tuple[Path, str]]:
    """Yield which of these files is not what a run wrote when it began, and what is wrong with it.

    Args:
        run: its directory.
        data: what it began with.

    """
    file, samples = run / FILE, run / SAMPLES
    if _is_own(data) and os.path.lexists(samples):
        text = io.StringIO(newline="")
        csv.writer(text).writerows([COLUMNS, *_sample_rows(data)])
        if not samples.is_file() or samples.read_bytes() != text.getvalue().encode("utf-8-sig"):
            yield samples, "does not say which file or row each sample is"
    if data.listed is not None and os.path.lexists(file):
        began = read_beginning(run)
        if began is None:
            yield file, "is damaged"
        elif other := [name for name, digest in _digests(data) if began.digests.get(name, digest) != digest]:
            yield file, f"has another digest of {listed(other)} than the image that the run began with"


def _is_own(data: DataSet) -> bool:
    return data.paths is not None or data.rows is not None


def _sample_rows(data: DataSet) -> Iterator[tuple[int, str]]:
    return ((sample, safe_path(data.sample_path("train", sample))) for sample in range(len(data.train)))


def read_beginning(run: Path) -> Beginning | None:
    """Return which images a run began with; None where it does not say.

    Args:
        run: its directory.

    """
    with suppress(OSError, ValueError, KeyError, TypeError):  # it is absent or damaged: the digest decides without it
        stored = read_json(run / FILE)
        if stored["format"] == FORMAT:
            classes, unreadable, beside = (tuple(map(str, stored[key])) for key in ("classes", "unreadable", "beside"))
            samples = tuple(Sample(name, label, split) for name, label, split, _ in stored["files"])
            digests = {name: digest for name, _, _, digest in stored["files"] if digest is not None}
            return Beginning(Listed(classes, samples, unreadable, beside, stored["labels_file"]), digests)
    return None


def ways_to_read(began: Beginning | None, name: str, cache: Path | None) -> list[Before]:
    """Return how a run's folder may have to be listed, the likeliest first, to get what it began with.

    Args:
        began: what the run says of it.
        name: of the data set.
        cache: folder of the decoded images.

    """
    kind, _, folder = name.partition(":")
    if kind != "folder":
        return [None]
    if began is not None:
        return [began.listed]
    if not (Path(folder).expanduser() / NAME).is_file():
        return [None]
    kept = _kept(cache)
    return ["unlisted", None] if kept and kept.get(NAME) is None else [None, "unlisted"]


def come_and_gone(began: Beginning, config: RunConfig) -> str:
    """Say which images of a run's folder are new, or gone; empty where none is.

    Args:
        began: what the run began with.
        config: of the run; where the data's own labels answer, only images with a label count.

    """
    root = Path(config.data.name.partition(":")[2]).expanduser().resolve()
    if not root.is_dir():
        return ""
    before = began.listed
    known = {sample.name for sample in before.samples}.union(before.beside)
    new: list[str] = []
    with suppress(TrainerError):  # a list of labels that is new and wrong: it is not read
        if config.simulated:
            there = list_folder(root, config.data.image_options).samples
            new = [sample.name for sample in there if sample.label is not None and sample.name not in known]
        else:
            new = [name for name in list_all(root) if name not in known]
    phrases = (_phrase("is new", "are new", new), _phrase("is gone", "are gone", gone_from(root, before)))
    return "; ".join(filter(None, phrases))


def what_changed(began: Beginning | None, data: DataSet, kept: dict[str, Any] | None) -> str:
    """Say which images are others than a run began with, as far as is known.

    Args:
        began: what the run says of them.
        data: what was read now.
        kept: what ``kept_files`` returned before it was read.

    """
    if data.paths is None:
        return "its arrays, labels, classes or texts are others"
    if began is not None:
        changed = [name for name, digest in _digests(data) if began.digests.get(name, digest) != digest]
        return _phrase("was changed", "were changed", changed) or "its classes or sizes are others"
    if kept is None:
        return f"its images, their names, classes or labels are others{_of_list(data)}"
    now = {name for half in data.paths for name in half}
    found = [
        _phrase("is new", "are new", sorted(now - kept.keys())),
        _phrase("is gone", "are gone", sorted(kept.keys() - now)),
        _phrase("was changed", "were changed", sorted(n for n in now & kept.keys() if _stat(data, n) != kept[n])),
    ]
    return "; ".join(filter(None, found)) or f"its labels or classes are others{_of_list(data)}"


def kept_files(cache: Path | None) -> dict[str, Any] | None:
    """Return size and time of every file that decoded images are kept of, by name; None where none are.

    Args:
        cache: their folder.

    """
    kept = _kept(cache)
    files = kept.get("files") if kept else None
    return files if isinstance(files, dict) else None


def _kept(cache: Path | None) -> dict[str, Any] | None:
    """Return what the images of a cache were made from."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        origin = read_json(cache / INDEX)["origin"] if cache else None
        return origin if isinstance(origin, dict) else None
    return None


def _stat(data: DataSet, name: str) -> list[int]:
    assert data.root is not None
    status = (data.root / name).stat()
    return [status.st_size, status.st_mtime_ns]


def _of_list(data: DataSet) -> str:
    there = data.root is not None and (data.root / NAME).is_file()
    return f" (if its {NAME} is new, move it elsewhere)" if there else ""


def _phrase(one: str, many: str, names: list[str]) -> str:
    return f"{counted(len(names), 'image')} {one if len(names) == 1 else many} ({listed(names)})" if names else ""


def _digests(data: DataSet) -> Iterator[tuple[str, str]]:
    """Yield the name of each image and the digest of its bytes."""
    for names, half in zip(data.paths or (), (data.pictures.train, data.pictures.test), strict=False):
        for name, image in zip(names, half.images, strict=True):
            yield name, hashlib.blake2b(image.tobytes(), digest_size=8).hexdigest()
