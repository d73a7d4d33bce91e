"""Which directory a user named, and whether it can be written to: a look, before anything heavy is imported."""

import os
import shlex
from pathlib import Path

from common.files import unwritable
from pipeline.errors import PipelineError

CONFIG, EVENTS, GRID = "config.yaml", "events.jsonl", "grid.yaml"
SHOWN = 3
"""Runs that a message names."""


def is_run(path: Path) -> bool:
    """Tell whether a directory is a run that has begun, or a comparison.

    Args:
        path: any.

    """
    return (path / GRID).is_file() or ((path / CONFIG).is_file() and (path / EVENTS).is_file())


def runs_in(path: Path) -> list[Path]:
    """Return the runs and comparisons that lie in a directory itself, by name; none where it cannot be listed.

    Args:
        path: any.

    """
    try:
        return sorted(entry for entry in path.iterdir() if entry.is_dir() and is_run(entry))
    except OSError:
        return []


def require_run(path: Path) -> None:
    """Refuse what is no run's directory, and say which run may have been meant.

    Args:
        path: what the user named.

    Raises:
        PipelineError: there is no configuration of a run in it.

    """
    if os.path.lexists(path / CONFIG):
        return
    advice = "start one with 'pipeline run'"
    if (path / GRID).is_file():
        advice = (
            f"it is a comparison: {_within(path)}; 'pipeline compare --out {shlex.quote(str(path))}' goes on with it"
        )
    elif (path / EVENTS).is_file():
        advice = "restore that file from a copy"
    elif runs := runs_in(path):
        alone = [run for run in runs if not (run / GRID).is_file()]
        advice = f"name one of the runs in it, {_listed(alone)}" if alone else _within(runs[0])
    raise PipelineError(f"expected a run directory with a {CONFIG}, but {path} has none: {advice}")


def _within(comparison: Path) -> str:
    """Return what can be named in a comparison's place."""
    runs = runs_in(comparison)
    one = f"name one of the runs in {comparison}, {_listed(runs)}, or " if runs else ""
    return f"{one}see it with 'pipeline report {shlex.quote(str(comparison))}'"


def require_report(path: Path) -> None:
    """Refuse what is neither a run nor a comparison, and say what may have been meant.

    Args:
        path: what the user named.

    Raises:
        PipelineError: it has no file that says so.

    """
    if (path / CONFIG).is_file() or (path / GRID).is_file():
        return
    runs = runs_in(path)
    advice = f"name some of the runs in it, {_listed(runs)}" if runs else "name such directories"
    raise PipelineError(
        f"expected a directory that 'pipeline compare' ({GRID}) or 'pipeline run' ({CONFIG}) made, but {path} is "
        f"neither: {advice}"
    )


def refuse_runs(path: Path, command: str = "") -> None:
    """Refuse a run, a comparison or a folder of them where a folder of images belongs: what lies in them is no image.

    Args:
        path: the folder that was named.
        command: that takes a run as well; none where no run may be named.

    Raises:
        PipelineError: it is one of these.

    """
    if (path / GRID).is_file():
        raise PipelineError(
            f"{path} is a comparison that 'pipeline compare' made, not a folder of images: see it with "
            f"'pipeline report {shlex.quote(str(path))}'"
        )
    if is_run(path):
        raise PipelineError(f"{path} is a run, not a folder of images: name the folder that its images lie in")
    if (path / EVENTS).is_file():
        raise PipelineError(f"{path} was a run, but its {CONFIG} is gone: restore that file from a copy")
    if runs := runs_in(path):
        such = f"one of the runs in it, such as '{command} {shlex.quote(str(runs[0]))}', or " if command else ""
        raise PipelineError(f"{path} holds runs ({_listed(runs)}): name {such}a folder that holds images alone")


def _listed(runs: list[Path]) -> str:
    more = f" and {len(runs) - SHOWN} more" if len(runs) > SHOWN else ""
    return ", ".join(run.name for run in runs[:SHOWN]) + more


def check_place(where: Path) -> None:
    """Check that a directory is one, or can be made, and can be written to.

    Args:
        where: the directory.

    Raises:
        PipelineError: it is not.

    """
    nearest = next(place for place in (where, *where.absolute().parents) if place.exists())
    if not nearest.is_dir():
        what = "expected a directory, but" if nearest == where else f"cannot write to {where}:"
        raise PipelineError(f"--out: {what} {nearest} is a file: name another")
    _check_rights(where)


def check_file(path: Path, *, new: bool = False) -> None:
    """Check that a file can be written where its folder is.

    Args:
        path: the file.
        new: whether it must not exist yet.

    Raises:
        PipelineError: it cannot.

    """
    folder = path.absolute().parent
    if new and os.path.lexists(path):
        raise PipelineError(f"--out: expected a new file, but {path} exists: name another or remove it")
    if path.is_dir():
        raise PipelineError(f"--out: expected a file, but {path} is a folder: name a file in it")
    if not folder.is_dir():
        raise PipelineError(f"--out: expected a file in a folder that there is, but {folder} is none")
    _check_rights(path)


def _check_rights(where: Path) -> None:
    if folder := unwritable(where):
        raise PipelineError(f"--out: cannot write to {where}: no permission to write in {folder}: name another")
