"""``pipeline products``: everything that a person takes away from a run, as one folder that is whole or not there."""

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from common.cells import safe_text
from common.files import sha256_of, sync_file, sync_folder
from pipeline.advise import review
from pipeline.config import RunConfig
from pipeline.errors import PipelineError
from pipeline.files import naming, write_atomically, write_json
from pipeline.products import labels, predictions
from pipeline.products.kept import CONTENTS, take_port
from pipeline.products.model import ModelWriter, Trained, last_trained
from pipeline.products.model_folder import FOLDER, About
from pipeline.products.networks import Say
from pipeline.products.predictions import Outputs, judge, write_predictions
from pipeline.products.reading import reading_of
from pipeline.products.readme import NAME as README
from pipeline.products.readme import readme
from pipeline.run.events import Event
from pipeline.run.pool import Pool
from pipeline.run.recorded import named_code
from pipeline.run.rundir import environment_versions, read_config, read_events
from pipeline.run.votes import Votes, classes_now
from trainer.data import DataSet

PRODUCTS = "products"
CONTENTS_FORMAT = 1
PIECE = 1024
"""Images expanded to float32 at once."""
Progress = Callable[[str, int, int], None]
"""Told what goes on, how much of it is done, and of how much."""


def make_products(
    run: Path,
    data: DataSet,
    out: Path | None = None,
    *,
    trust_code: bool = False,
    say: Say = lambda line: None,
    progress: Progress = lambda what, done, total: None,
) -> list[str]:
    """Write a run's products as they are now; the run is only read, and may be going on.

    Args:
        run: the run directory.
        data: its data.
        out: the folder, which is replaced as a whole where it holds products; ``products`` in the run by default.
        trust_code: whether a network that is not built in may be imported, where the run has no port of it.
        say: told in one line of what cannot be made, such as a model before the first training.
        progress: told how far it is.

    Returns:
        The files, relative to the folder, the README first.

    Raises:
        PipelineError: the run is damaged, its code is not trusted, or the folder holds something else.
        RunFailedError: the network cannot be built.

    """
    config, events = read_config(run), read_events(run)
    if not events:
        raise PipelineError(f"{run} has not begun: expected a run in which something was labelled")
    out = out or run / PRODUCTS
    with replacing_products(out) as folder:
        maker = _Maker(run, config, events, data, folder, out, say, progress)
        maker.write(trust_code)
        return maker.files()


class _Maker:
    """Fills one folder."""

    def __init__(
        self,
        run: Path,
        config: RunConfig,
        events: Sequence[Event],
        data: DataSet,
        folder: Path,
        earlier: Path,
        say: Say,
        progress: Progress,
    ) -> None:
        self.run, self.config, self.events, self.data, self.folder = run, config, events, data, folder
        self.earlier = earlier
        self._say, self._progress = say, progress
        self.classes = classes_now(data.classes, events)
        pool = Pool(len(data.train), events)
        self.votes, self.known, self.checked = Votes(events), pool.known() | pool.checked, frozenset(pool.check_set)

    def write(self, trust_code: bool) -> None:
        self._progress("labels", 0, 1)
        random = self.config.query.strategy == labels.RANDOM
        counts = labels.write_labels(
            self.folder / labels.NAME, self.data, self.classes, self.votes, self.known, self.checked, random=random
        )
        about = None
        if (trained := last_trained(self.run, self.events, self._say)) is None:
            self._say("no network is trained yet: labels.csv alone is written, without predictions and model")
        else:
            about, outputs = self._model(trained, trust_code)
            self._predictions(about, outputs)
            self._review(trained)
        self._describe(counts, about)

    def _model(self, trained: Trained, trust_code: bool) -> tuple[About, Outputs]:
        self._progress("model", 0, 1)
        (self.folder / FOLDER).mkdir()
        made_by = self._made_by()

        def kept(network: Mapping[str, Any], into: Path) -> bool:
            own_code = named_code(self.config)  # which may compute something else by now
            return not own_code and take_port(self.earlier, network, into, made_by)

        writer = ModelWriter(self.run, self.config, self.events, self.data, trust_code, self._say, kept)
        return writer.write(trained, self.classes, reading_of(self.config, self.data), self.folder / FOLDER)

    def _review(self, trained: Trained) -> None:
        self._progress("labels that look wrong", 0, 1)
        pool = Pool(len(self.data.train), self.events)
        doubts = review.doubts_of(trained, pool, self.data, self._say)
        review.write_review(self.folder / review.NAME, self.data, self.classes, doubts, pool.current, pool.kept)

    def _predictions(self, about: About, outputs: Outputs) -> None:
        n, n_test = len(self.data.train), len(self.data.test)
        truth = self.data.labels("test")

        def pieces() -> Iterator[np.ndarray]:
            done = 0
            for half, size in (("train", n), ("test", n_test)):
                for start in range(0, size, PIECE):
                    self._progress("predictions", done, n + n_test)
                    ids = np.arange(start, min(start + PIECE, size))
                    yield self.data.inputs(half, ids)  # type: ignore[arg-type]
                    done += len(ids)

        def label(i: int) -> str:
            given = int(truth[i - n]) if i >= n else self.known.get(i) if self.votes.in_force(i) else None
            return "" if given is None else safe_text(self.classes[given])

        def name(i: int) -> str:
            return self.data.sample_path("train", i) if i < n else self.data.sample_path("test", i - n)

        def split(i: int) -> str:
            return "test" if i >= n else "check" if i in self.checked else "train"

        judged = judge(pieces(), outputs, about.trained_with)
        path = self.folder / predictions.NAME
        columns = ("label", "split")
        write_predictions(path, judged, about.classes, name, columns, lambda i: (label(i), split(i)))

    def _describe(self, counts: Mapping[str, int], about: About | None) -> None:
        """Write the README and the list of all files with their hashes."""
        made = self._found()
        hashes = {name: sha256_of(self.folder / name) for name in made}
        start, made_by = self.events[0], self._made_by()
        text = readme(
            self.folder,
            self.run,
            self.config,
            start,
            self.data,
            self.classes,
            about,
            counts,
            hashes,
            made_by["versions"],
        )
        write_atomically(self.folder / README, text)
        contents = {
            **made_by,
            "events": len(self.events),
            "cycle": about.cycle if about else None,
            "files": hashes | {README: sha256_of(self.folder / README)},
        }
        write_json(self.folder / CONTENTS, contents)

    def _made_by(self) -> dict[str, Any]:
        """Return what decides about a port beside its network."""
        start = self.events[0]
        return {
            "format": CONTENTS_FORMAT,
            "run": start["run_id"],
            "dataset_sha256": start["dataset_sha256"],
            "versions": environment_versions(),
        }

    def files(self) -> list[str]:
        return [README, *(name for name in self._found() if name != README)]

    def _found(self) -> list[str]:
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return [path.relative_to(self.folder).as_posix() for path in paths]


@contextmanager
def replacing_products(out: Path) -> Iterator[Path]:
    """Make a folder of products appear whole, in the place of an earlier one or of nothing.

    What a killed process left of its own attempt is removed, and an earlier folder that it had moved aside comes back.

    Args:
        out: the folder.

    Yields:
        A folder beside it, to be filled.

    Raises:
        PipelineError: the folder holds something other than products.
        OSError: it cannot be written.

    """
    out = out.absolute()
    _refuse_other(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _held(out.parent):
            _tidy(out)
            draft = _beside(out, "draft")
            draft.mkdir()
            mine = _locked(draft)
    except OSError as error:
        raise PipelineError(f"--out: cannot write to {out}: {error.strerror}: name another folder") from error
    try:
        with naming(draft):
            yield draft
            for path in draft.rglob("*"):
                sync_folder(path) if path.is_dir() else sync_file(path)
            sync_folder(draft)
            with _held(out.parent):
                _exchange(draft, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        os.close(mine)


def _exchange(draft: Path, out: Path) -> None:
    """Give a draft its name; what had it goes, once the new one is there."""
    old = _beside(out, "old")
    if out.exists():
        out.rename(old)
    try:
        draft.rename(out)
    except BaseException:
        if old.exists():
            old.rename(out)
        raise
    sync_folder(out.parent)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Let no other process tidy or exchange products in a folder meanwhile."""
    lock = _locked(folder)
    try:
        yield
    finally:
        os.close(lock)


def _locked(folder: Path) -> int:
    """Lock a folder until the descriptor that is returned is closed, or the process dies."""
    descriptor = os.open(folder, os.O_RDONLY)
    with suppress(OSError):  # a file system without such locks: nothing is tidied there
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _beside(out: Path, what: str) -> Path:
    """A name that no run takes for one of its own leftovers."""
    return out.with_name(f".{out.name}.{what}-{secrets.token_hex(4)}")


def _tidy(out: Path) -> None:
    """Put back or remove what killed processes left beside a folder."""
    for old in sorted(out.parent.glob(f".{out.name}.old-*")):
        shutil.rmtree(old, ignore_errors=True) if out.exists() else old.rename(out)
    for draft in out.parent.glob(f".{out.name}.draft-*"):
        if _abandoned(draft):
            shutil.rmtree(draft, ignore_errors=True)


def _abandoned(draft: Path) -> bool:
    try:
        held = os.open(draft, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(held)
    return True


def _refuse_other(out: Path) -> None:
    taken = out.is_symlink() or (out.exists() and not out.is_dir())
    if taken or (out.is_dir() and any(out.iterdir()) and not (out / CONTENTS).is_file()):
        raise PipelineError(f"--out: expected a new folder or one of products, but {out} is another: name another")
