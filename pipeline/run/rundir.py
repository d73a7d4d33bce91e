"""One run is one directory; its event log is the truth and everything else can be checked or rebuilt."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from pipeline.config import RunConfig, validate
from pipeline.errors import PipelineError
from pipeline.files import write_atomically
from pipeline.lock import LOCK, DirectoryLock
from pipeline.parsing import parse_yaml
from pipeline.plain import differences
from pipeline.run.cut_back import refuse_cut_back
from pipeline.run.events import Event, EventLog, parse_events
from pipeline.run.former_names import existing
from pipeline.run.logged import LogIndex, contradiction, machine_of
from pipeline.run.pool import Pool
from pipeline.run.stages.binding import Binding
from pipeline.run.stages.store import Manifest, read_manifest, remove_leftovers, set_aside, write_stage

Stage = Literal["train", "migrate", "score", "sequential"]

EVENTS, CONFIG = "events.jsonl", "config.yaml"
_BEGINNING = {"run_id": str, "config": dict, "config_sha256": str, "dataset_sha256": str, "versions": dict}
"""What the first event says at least."""


def create_run(path: Path, config: RunConfig) -> None:
    """Make a new run directory that holds nothing but its configuration.

    Args:
        path: the directory.
        config: the run's configuration.

    Raises:
        PipelineError: the directory exists and is not empty, or cannot be written to.

    """
    try:
        _refuse_taken(path)
        path.mkdir(parents=True, exist_ok=True)
        with FileLock(path / LOCK, timeout=0):  # two commands that chose the same name: one of them finds it taken
            _refuse_taken(path)
            remove_leftovers(path)
            write_atomically(path / CONFIG, config.to_yaml())
    except Timeout as error:
        raise PipelineError(f"--out: {path} is being made by another command: name another") from error
    except OSError as error:
        raise PipelineError(f"--out: cannot write to {path}: {error.strerror}") from error


def _refuse_taken(path: Path) -> None:
    """Refuse a path that holds anything but what a killed ``create_run`` leaves behind."""
    if path.is_dir():
        taken = [entry for entry in path.iterdir() if entry.name != LOCK and ".tmp-" not in entry.name]
    else:
        taken = [path] if path.exists() else []
    if taken:
        advice = f"go on with 'pipeline resume {path}' or " if (path / CONFIG).exists() else ""
        raise PipelineError(f"--out: expected a new or empty directory, but {path} is not: {advice}name another")


def read_config(path: Path) -> RunConfig:
    """Return the configuration of a run.

    Args:
        path: the run directory.

    Raises:
        PipelineError: there is no run, or its configuration is damaged.

    """
    _refuse_no_file(path / CONFIG)
    if not (path / CONFIG).is_file():
        grid = (path / "grid.yaml").is_file()
        advice = f"it is a comparison: 'pipeline compare --out {path}'" if grid else "start one with 'pipeline run'"
        raise PipelineError(f"expected a run directory with a {CONFIG}, but {path} has none: {advice}")
    try:
        text = (path / CONFIG).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"{path / CONFIG} cannot be read ({error}): restore it from a copy") from error
    try:
        return validate(parse_yaml(text, str(path / CONFIG)), recorded=True)
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


class RunDirectory:
    """A run opened for writing; holds its lock until closed.

    Args:
        path: the run.
        warn: told, in one line, of anything repaired.

    Raises:
        PipelineError: no such run, held by another process, or damaged.

    """

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self.path = path
        self.warn = warn
        self.config = read_config(path)
        self._pool: Pool | None = None
        self._lock = DirectoryLock(path)
        try:
            refuse_cut_back(path, read_begun(path), self.config.paged)  # what is damaged is left as it is
            self.log = EventLog(path / EVENTS)
            if self.log.cut:
                warn(f"{path / EVENTS}: the last line was torn and is cut; what it said is done again")
            self._index = LogIndex(self.events)
            remove_leftovers(path)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, *_: object) -> None:
        self.log.close()
        self._lock.release()

    @property
    def events(self) -> list[Event]:
        """All events so far."""
        return self.log.events

    @property
    def run_id(self) -> str:
        """A name that the same configuration and data always get."""
        return str(self.events[0]["run_id"])

    def has(self, event: str, cycle: int | None = None) -> bool:
        """Tell whether an event was logged.

        Args:
            event: its kind.
            cycle: its cycle; any where absent.

        """
        return self._index.has(event, cycle)

    def append(self, event: str, **fields: Any) -> Event:
        """Log an event, and let the state of the labelling follow.

        Args:
            event: its kind.
            **fields: what it says.

        Raises:
            OSError: it could not be written.
            PipelineError: it contradicts what was logged before.

        """
        if self._pool is not None:
            self._pool.check({"event": event, **fields})  # before it is logged: no log contradicts itself
        entry = self.log.append(event, **fields)
        self._index.add(entry)
        if self._pool is not None:
            self._pool.apply(entry)
        return entry

    def pool(self, size: int) -> Pool:
        """Return the state of the labelling: derived from the events once, and kept up with them since.

        Args:
            size: number of training samples in the data set, the same every time.

        """
        if self._pool is None:
            self._pool = Pool(size, self.events)
        return self._pool

    def start(self, facts: dict[str, Any]) -> None:
        """Log the first event, or check that a resumed run still is what it was.

        Args:
            facts: ``dataset_sha256``, ``versions``, ``hardware``, ``threads`` and whatever else is to be kept.

        Raises:
            PipelineError: a scientific field of the configuration or the data has changed.

        """
        if not self.events:
            digest = self.config.digest()
            run_id = hashlib.sha256((digest + facts["dataset_sha256"]).encode()).hexdigest()[:12]
            self.append("start", run_id=run_id, config=self.config.scientific(), config_sha256=digest, **facts)
            return
        check_unchanged(self.events[0], self.config, facts["dataset_sha256"])
        for change in differences(self.events[0]["versions"], facts["versions"]):
            self.warn(f"package versions changed since the run began ({change}); results may differ")
        began, now = machine_of(self.events[0]), machine_of(facts)
        if moved := differences(began, {name: now.get(name) for name in began}):
            self.warn(
                f"the run began on another machine or with other threads ({'; '.join(moved)}); results may differ"
            )

    def stage_path(self, cycle: int, stage: Stage) -> Path:
        """Where a stage of a cycle lies.

        Args:
            cycle: number of the cycle.
            stage: its name.

        """
        return existing(self.cycle_path(cycle), stage)

    def cycle_path(self, cycle: int) -> Path:
        """Where a cycle lies."""
        return cycle_path(self.path, cycle)

    def has_stage(self, cycle: int, stage: Stage) -> bool:
        """Tell whether a stage of a cycle was logged as done.

        Args:
            cycle: number of the cycle.
            stage: name of the stage.

        """
        return (cycle, stage) in self._index.done

    def result_of(self, cycle: int, stage: Stage) -> str:
        """Return the hash of a finished stage's result, as it was logged last.

        Args:
            cycle: number of the cycle.
            stage: name of the stage.

        """
        return str(self._index.done[cycle, stage]["sha256"])

    def _examine(self, binding: Binding, stage: Stage, result: str) -> tuple[Manifest | None, str]:
        """Return a stage's manifest, or None and what is wrong with the stage, if there is one."""
        directory = self.stage_path(binding.cycle, stage)
        result = existing(directory, result).name
        manifest = read_manifest(directory)
        if manifest is None or result not in manifest.files:
            return None, "is damaged"
        logged = self._index.done.get((binding.cycle, stage))
        if reason := contradiction(manifest, result, logged, binding, self._index.unbound):
            return None, f"does not belong there ({reason})"
        return manifest, ""

    def ensure_stage(
        self,
        cycle: int,
        stage: Stage,
        result: str,
        made_from: Mapping[str, str],
        build: Callable[[Path], float | None],
    ) -> Manifest:
        """Return a stage's manifest, building the stage when it is absent, damaged or another's.

        A stage that was logged is what the log says that it is, whatever was done again since; one that was not is
        made from what there is now.

        Args:
            cycle: number of the cycle.
            stage: name of the stage.
            result: the file whose hash the event log keeps.
            made_from: SHA-256 of everything that the stage is made from, by name.
            build: as of ``write_stage``.

        """
        manifest = self.find_stage(cycle, stage, result, made_from)
        if manifest is None:
            directory = self.cycle_path(cycle) / stage
            manifest = write_stage(directory, build, Binding(self.run_id, cycle, stage, made_from))
            self._log_stage(cycle, stage, existing(directory, result), manifest)
        return manifest

    def find_stage(self, cycle: int, stage: Stage, result: str, made_from: Mapping[str, str]) -> Manifest | None:
        """Return a stage's manifest and see to it that it is logged; None where it is absent or had to be set aside.

        Args:
            cycle: as of ``ensure_stage``, like all that follow.
            stage: its name.
            result: the file whose hash the event log keeps.
            made_from: hashes.

        """
        directory = self.stage_path(cycle, stage)
        manifest, trouble = self._examine(Binding(self.run_id, cycle, stage, made_from), stage, result)
        if manifest is not None:
            self._log_stage(cycle, stage, existing(directory, result), manifest)
        elif os.path.lexists(directory):
            aside = set_aside(directory)
            self.warn(f"{directory} {trouble}: set aside as {aside.name} and done again")
        return manifest

    def _log_stage(self, cycle: int, stage: Stage, file: Path, manifest: Manifest) -> None:
        """Log that a stage is done; again where it was done again and came out otherwise."""
        digest, logged = manifest.files[file.name], self._index.done.get((cycle, stage))
        if logged and logged["sha256"] != digest:
            self.warn(f"{file} differs from what the run first computed; is this another machine?")
        bound = {"binding": manifest.binding.digest()} if manifest.binding else {}
        if logged and logged["sha256"] == digest and logged.get("binding") in (None, bound.get("binding")):
            return
        self.append("stage_done", cycle=cycle, stage=stage, sha256=digest, **bound)


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


def environment_versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on."""
    from importlib.metadata import version

    return {name: version(name) for name in ("ntk-lookahead", "torch", "jax", "jaxlib", "flax", "numpy")}
