"""The directory of a grid: which it is, what it holds, and that one command at a time works on it."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.files import slug, slug_of, write_atomically
from pipeline.lock import DirectoryLock
from pipeline.run.stages.store import remove_leftovers
from pipeline.sweep.grid import GRID, Grid, read_grid

LOGS = "logs"


def choose_directory(wanted: Grid) -> Path:
    """Return ``runs/compare-DATASET-MODEL``, or -2 and so on where that is not a grid of the same runs.

    One of the same runs under the name that older versions gave it, without the network, is gone on with.
    """
    config, runs = wanted.cells()[0].config, Path("runs")
    former = f"compare-{slug(config.data.name)}"
    before = [path for path in (runs / former, *sorted(runs.glob(f"{former}-[0-9]*"))) if (path / GRID).is_file()]
    names = (f"compare-{slug_of(config)}{'' if number == 1 else f'-{number}'}" for number in itertools.count(1))
    return next(path for path in itertools.chain(before, (runs / name for name in names)) if _fits(path, wanted))


def _fits(path: Path, wanted: Grid) -> bool:
    try:
        merged(path, wanted)
    except PipelineError:
        return False
    return True


def merged(out: Path, wanted: Grid) -> Grid:
    """Return the grid that a directory will hold: what it holds already, and what is asked for beside it.

    Args:
        out: the directory.
        wanted: what is asked for.

    Raises:
        PipelineError: it holds something else, or a grid of other runs.

    """
    if (out / GRID).is_file():
        return read_grid(out).extended(wanted, out)
    if out.is_dir():
        taken = any(not entry.name.startswith("lock") and ".tmp-" not in entry.name for entry in out.iterdir())
    else:
        taken = out.exists()
    if taken:
        raise PipelineError(
            f"--out: expected a new or empty directory or one with a {GRID}, but {out} is not: name another"
        )
    return wanted


@contextmanager
def opened(out: Path, grid: Grid, wanted: Grid) -> Iterator[None]:
    """Hold a grid's directory, made where it is new, with ``grid.yaml`` saying what it is to hold.

    Args:
        out: the directory.
        grid: what it will hold, complete.
        wanted: what was asked for; extending what is there by it must still give the same cells.

    Raises:
        PipelineError: another command works on it or has changed it, or it cannot be written.

    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = DirectoryLock(out)
    except OSError as error:
        raise PipelineError(f"--out: cannot write to {out}: {error.strerror}") from error
    try:
        now = merged(out, wanted)
        if (now.strategies, now.seeds) != (grid.strategies, grid.seeds):
            raise PipelineError(f"{out} was changed by another command meanwhile: try again")
        try:
            remove_leftovers(out)
            (out / LOGS).mkdir(exist_ok=True)
            if not (out / GRID).is_file() or (out / GRID).read_text() != grid.to_yaml():
                write_atomically(out / GRID, grid.to_yaml())
        except OSError as error:
            raise PipelineError(f"--out: cannot write to {out}: {error.strerror}") from error
        yield
    finally:
        lock.release()
