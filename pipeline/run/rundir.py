"""One run is one directory; its event log is the truth and everything else can be checked or rebuilt."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from pipeline.config import RunConfig, validate
from pipeline.errors import PipelineError
from pipeline.files import write_atomically
from pipeline.lock import LOCK, DirectoryLock
from pipeline.parsing import parse_yaml
from pipeline.plain import differences
from pipeline.run.events import Event, EventLog, parse_events
from pipeline.run.former_names import existing, present_name
from pipeline.run.pool import Pool
from pipeline.run.stages.store import Manifest, read_manifest, remove_leftovers, set_aside, write_stage

Stage = Literal["train", "migrate", "score", "sequential"]

EVENTS, CONFIG = "events.jsonl", "config.yaml"


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
    if not (path / EVENTS).is_file():
        raise PipelineError(f"expected a run directory with an {EVENTS}, but {path} has none")
    return parse_events((path / EVENTS).read_bytes(), path / EVENTS)[0]


def check_unchanged(start: Event, config: RunConfig, dataset_sha256: str) -> None:
    """Check that a run's configuration and data still are what they were when it began.

    Args:
        start: the log's first event.
        config: the run's configuration.
        dataset_sha256: digest of the data set's content.

    Raises:
        PipelineError: a scientific field or the data set has changed; the message names it.

    """
    if start["config_sha256"] != config.digest():
        changed = "; ".join(differences(start["config"], config.scientific()))
        raise PipelineError(f"{CONFIG} was changed since the run began ({changed}): change it back")
    if start["dataset_sha256"] != dataset_sha256:
        raise PipelineError(
            f"the data set {config.data.name} is not the one that the run began with "
            f"(SHA-256 {dataset_sha256[:12]}, expected {start['dataset_sha256'][:12]}): restore it"
        )


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
            self.log = EventLog(path / EVENTS)
            if self.log.cut:
                warn(f"{path / EVENTS}: the last line was torn and is cut; what it said is done again")
            if not self.events and (path / "cycles").is_dir():
                warn(f"{path / EVENTS} was missing or empty although there are stages: the log is built again")
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

    def has(self, event: str, **fields: Any) -> bool:
        """Tell whether an event with these fields was logged.

        Args:
            event: its kind.
            **fields: its fields by name.

        """
        return any(e["event"] == event and all(e.get(k) == v for k, v in fields.items()) for e in self.events)

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
            facts: ``dataset_sha256``, ``versions`` and whatever else is to be kept.

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

    def ensure_stage(self, cycle: int, stage: Stage, result: str, build: Callable[[Path], float | None]) -> Manifest:
        """Return a stage's manifest, building the stage when it is absent or damaged.

        Args:
            cycle: number of the cycle.
            stage: name of the stage.
            result: the file whose hash the event log keeps.
            build: as of ``write_stage``.

        """
        directory = self.stage_path(cycle, stage)
        file = existing(directory, result)
        manifest = read_manifest(directory)
        if manifest is not None and file.name not in manifest.files:
            manifest = None
        if manifest is None:
            if directory.exists():
                aside = set_aside(directory)
                self.warn(f"{directory} is damaged: set aside as {aside.name} and done again")
            directory = self.cycle_path(cycle) / stage
            file = directory / result
            manifest = write_stage(directory, build)
        digest = manifest.files[file.name]
        if logged := self._digest_of(cycle, stage):
            if logged != digest:
                self.warn(f"{file} differs from what the run first computed; is this another machine?")
        else:
            self.append("stage_done", cycle=cycle, stage=stage, sha256=digest)
        return manifest

    def _digest_of(self, cycle: int, stage: Stage) -> str | None:
        """Return the hash of a stage's result as it was logged last."""
        done = (event for event in reversed(self.events) if event["event"] == "stage_done" and event["cycle"] == cycle)
        return next((event["sha256"] for event in done if present_name(event["stage"]) == stage), None)


def environment_versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on."""
    from importlib.metadata import version

    return {name: version(name) for name in ("ntk-lookahead", "torch", "jax", "jaxlib", "flax", "numpy")}
