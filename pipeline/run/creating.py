"""Making a run's directory, and what a run computes with."""

import os
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.config import RunConfig
from pipeline.errors import PipelineError
from pipeline.files import write_atomically
from pipeline.lock import LOCK
from pipeline.places import EVENTS
from pipeline.run.reading import CONFIG
from pipeline.run.stages.store import remove_leftovers


def create_run(path: Path, config: RunConfig) -> None:
    """Make a new run directory that holds nothing but its configuration.

    Args:
        path: the directory.
        config: the run's configuration.

    Raises:
        PipelineError: the directory exists and is not empty, or cannot be written to.

    """
    try:
        refuse_taken(path)
        path.mkdir(parents=True, exist_ok=True)
        with FileLock(path / LOCK, timeout=0):  # two commands that chose the same name: one of them finds it taken
            refuse_taken(path)
            remove_leftovers(path)
            write_atomically(path / CONFIG, config.to_yaml())
    except Timeout as error:
        raise PipelineError(f"--out: {path} is being made by another command: name another") from error
    except OSError as error:
        raise PipelineError(f"--out: cannot write to {path}: {error.strerror}") from error


def refuse_taken(path: Path) -> None:
    """Refuse a path that holds anything but what a killed ``create_run`` leaves behind.

    Args:
        path: of a run that is to be made.

    Raises:
        PipelineError: it does.

    """
    if path.is_dir():
        taken = [entry for entry in path.iterdir() if entry.name != LOCK and ".tmp-" not in entry.name]
    else:
        taken = [path] if os.path.lexists(path) else []
    if taken:
        advice = f"go on with 'pipeline resume {path}' or " if (path / CONFIG).exists() else ""
        raise PipelineError(f"--out: expected a new or empty directory, but {path} is not: {advice}name another")
    for around in path.absolute().parents:
        if (around / CONFIG).is_file() and (around / EVENTS).is_file():
            raise PipelineError(f"--out: {path} lies within the run {around}: name a place beside it")


def environment_versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on."""
    from importlib.metadata import version

    return {name: version(name) for name in ("ntk-lookahead", "torch", "jax", "jaxlib", "flax", "numpy")}
