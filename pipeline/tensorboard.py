"""Finished cycles as TensorBoard shows them: an optional view, written from what runs keep and never read back."""

import secrets
import shutil
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from common.reading import parse_json, read_text, why
from pipeline.errors import PipelineError
from pipeline.places import check_place
from pipeline.run.believed import believed_rows
from pipeline.run.rundir import EVENTS, cycle_path
from pipeline.run.stages.train import METRICS
from pipeline.run.summary import CycleRow
from pipeline.sweep.grid import GRID, read_grid


class Scalar(NamedTuple):
    """One point of one chart.

    Args:
        tag: the chart, ``GROUP/NAME``.
        value: its height.
        step: where it stands: labels, the cycle, or the epoch, as the group's name says.

    """

    tag: str
    value: float
    step: int


def scalars(run: Path) -> Iterator[Scalar]:
    """Yield every point that a run's finished cycles have: metrics by labels and by cycle, training by epoch."""
    for row in believed_rows(run):
        yield from _of_cycle(row)
        for record in _epochs(run, row.cycle):
            for name in ("loss", "residual_rms"):
                if record.get(name) is not None:  # the residual is not measured after every epoch
                    yield Scalar(f"training by epoch, {name}/cycle {row.cycle:03d}", record[name], record["epoch"])


def _points(run: Path) -> list[Scalar]:
    try:
        return list(scalars(run))
    except PipelineError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PipelineError(f"{run}: what it measured is damaged ({why(error)}): 'pipeline resume {run}'") from error


def _of_cycle(row: CycleRow) -> Iterator[Scalar]:
    taken = [("seconds", stage, seconds) for stage, seconds in row.seconds.items()]
    for group, name, value in (*row.metrics(), *taken):
        yield Scalar(f"{group} by labels/{name}", value, row.n_labelled)
        yield Scalar(f"{group} by cycle/{name}", value, row.cycle)


def _epochs(run: Path, cycle: int) -> list[dict[str, Any]]:
    lines = read_text(cycle_path(run, cycle) / "train" / METRICS).splitlines()
    return [parse_json(line) for line in lines]


def runs_by_name(paths: tuple[Path, ...]) -> dict[str, Path]:
    """Return the runs that paths stand for: a run for itself, a grid for those of its cells that have begun.

    Args:
        paths: run directories and grid directories.

    Returns:
        Paths by name: ``RUN``, or ``GRID/CELL``; ``RUN-2`` and so on where a name comes twice.

    Raises:
        PipelineError: a path is neither.

    """
    found: dict[str, Path] = {}
    for path in paths:
        name = _unused(path.resolve().name or "run", {label.partition("/")[0] for label in found})
        if (path / GRID).is_file():
            cells = [path / cell.name for cell in read_grid(path).cells()]
            found |= {f"{name}/{cell.name}": cell for cell in cells if (cell / EVENTS).is_file()}
        elif (path / EVENTS).is_file():
            found[name] = path
        else:
            raise PipelineError(f"expected a run with an {EVENTS} or a grid with a {GRID}, but {path} has neither")
    return found


def _unused(name: str, taken: set[str]) -> str:
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(candidate for candidate in names if candidate not in taken)


def write_logs(runs: Mapping[str, Path], out: Path) -> dict[str, int]:
    """Write one TensorBoard log a run, all or none of them.

    Args:
        runs: paths by name.
        out: the log directory to make.

    Returns:
        How many points each run has, by name; those without a finished cycle have none and get no log.

    Raises:
        PipelineError: the package tensorboard is not installed, ``out`` holds something, no cycle is finished, or what
            one measured is damaged.

    """
    writer = _summary_writer()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PipelineError(f"--out: expected a new or empty directory, but {out} is not: remove it or name another")
    check_place(out)
    points = {name: _points(run) for name, run in runs.items()}
    if not any(points.values()):
        raise PipelineError(f"expected a finished cycle in at least one of {len(runs)} runs, but there is none yet")
    temporary = out.parent / f".{out.name}.tmp-{secrets.token_hex(4)}"
    try:
        for name, listed in points.items():
            if listed:
                with writer(str(temporary / name)) as log:
                    for tag, value, step in listed:
                        log.add_scalar(tag, value, step)
        temporary.replace(out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return {name: len(listed) for name, listed in points.items()}


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise PipelineError(
            f"expected the package tensorboard, but it cannot be imported ({error}): pip install tensorboard"
        ) from error
    return SummaryWriter
