"""Reading a run that was begun, without locking or changing it, and what is checked before anything of it is used."""

import os
from collections.abc import Iterable
from pathlib import Path

from common.reading import why
from pipeline.config import RunConfig, validate
from pipeline.errors import PipelineError
from pipeline.parsing import read_yaml
from pipeline.places import CONFIG, EVENTS, require_run
from pipeline.plain import differences
from pipeline.run.events import Event, parse_events
from pipeline.run.former_names import existing
from pipeline.run.logged import LogIndex
from pipeline.run.stages.store import read_manifest

_BEGINNING = {"run_id": str, "config": dict, "config_sha256": str, "dataset_sha256": str, "versions": dict}
"""What the first event says at least."""


def read_config(path: Path) -> RunConfig:
    """Return the configuration of a run.

    Args:
        path: the run directory.

    Raises:
        PipelineError: there is no run, or its configuration is damaged.

    """
    _refuse_no_file(path / CONFIG)
    require_run(path)
    try:
        return validate(read_yaml(path / CONFIG), recorded=True)
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"{path / CONFIG} cannot be read ({why(error)}): restore it from a copy") from error
    except PipelineError as error:
        raise PipelineError(f"{path / CONFIG} is damaged ({error}): restore it from a copy") from error


def read_events(path: Path) -> list[Event]:
    """Return the events of a run without locking or changing it.

    Args:
        path: the run directory.

    Raises:
        PipelineError: there is no event log, or it is damaged.

    """
    events = read_begun(path)
    if not events and not (path / EVENTS).is_file():
        raise PipelineError(f"expected a run directory with an {EVENTS}, but {path} has none")
    return events


def read_begun(path: Path) -> list[Event]:
    """Return the events of a run without locking or changing it; none of one that was killed before its first.

    Args:
        path: the run directory.

    Raises:
        PipelineError: the event log is damaged, or gone although the run has stages.

    """
    log, cycles = path / EVENTS, path / "cycles"
    _refuse_no_file(log)
    for folder in (cycles, *(cycles.glob("[0-9]*") if cycles.is_dir() else ())):
        if os.path.lexists(folder) and not folder.is_dir():
            kind = "link that leads nowhere" if folder.is_symlink() else "file"
            raise PipelineError(f"{folder}: expected a folder, but it is a {kind}: restore it from a copy")
    has_stages = cycles.is_dir() and any(cycles.iterdir())  # looked at first: a run may be going on
    events = parse_events(log.read_bytes(), log)[0] if log.is_file() else []
    if has_stages and not events:
        state = "has no event" if log.is_file() else "is missing"
        raise PipelineError(
            f"{log} {state} although {cycles} has stages: restore it from a copy; without it nobody knows what was "
            "asked and answered, and the run cannot be continued"
        )
    return events


def _refuse_no_file(path: Path) -> None:
    """Refuse anything but a file where one belongs: a folder cannot be read, and a pipe would be waited for."""
    if os.path.lexists(path) and not path.is_file():
        kind = "folder" if path.is_dir() else "link that leads nowhere" if path.is_symlink() else "device or pipe"
        raise PipelineError(f"{path}: expected a file, but it is a {kind}: restore the file from a copy")


def check_unchanged(start: Event, config: RunConfig, dataset_sha256: str) -> None:
    """Check that a run's configuration and data still are what they were when it began.

    Args:
        start: the log's first event.
        config: the run's configuration.
        dataset_sha256: digest of the data set's content.

    Raises:
        PipelineError: a scientific field or the data set has changed; the message names it.

    """
    check_configuration(start, config)
    if start["dataset_sha256"] != dataset_sha256:
        raise PipelineError(
            f"the data set {config.data.name} is not the one that the run began with "
            f"(SHA-256 {dataset_sha256[:12]}, expected {start['dataset_sha256'][:12]}): restore it"
        )


def check_configuration(start: Event, config: RunConfig) -> None:
    """Check that a run's configuration still is what it was when it began; nothing that it names is imported.

    Args:
        start: the log's first event.
        config: the run's configuration.

    Raises:
        PipelineError: a scientific field has changed; the message names it. Or the first event is no beginning.

    """
    if start["event"] != "start" or any(type(start.get(name)) is not kind for name, kind in _BEGINNING.items()):
        raise PipelineError(f"{EVENTS}: line 1 does not say how the run began: restore the file from a copy")
    if start["config_sha256"] != config.digest():
        changed = "; ".join(differences(start["config"], config.scientific()))
        raise PipelineError(f"{CONFIG} was changed since the run began ({changed}): change it back")


def cycle_path(run: Path, cycle: int) -> Path:
    """Where a cycle of a run lies.

    Args:
        run: the run directory.
        cycle: number of the cycle.

    """
    return run / "cycles" / f"{cycle:03d}"


def logged_stage(run: Path, events: Iterable[Event], cycle: int, stage: str, result: str) -> Path | None:
    """Return where a stage of a run lies, or None where it is absent, damaged or not the one that was logged.

    Args:
        run: the run directory; it is only read.
        events: of the run.
        cycle: number of the cycle.
        stage: its name.
        result: the file whose hash the event log keeps.

    """
    directory = existing(cycle_path(run, cycle), stage)
    result = existing(directory, result).name
    manifest, logged = read_manifest(directory), LogIndex(events).done.get((cycle, stage))
    if manifest is None or logged is None or logged["sha256"] != manifest.files.get(result):
        return None
    bound = manifest.binding.digest() if manifest.binding else None
    return directory if logged.get("binding") in (None, bound) else None
