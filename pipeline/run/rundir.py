"""One run is one directory; its event log is the truth and everything else can be checked or rebuilt."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import PipelineError
from pipeline.lock import DirectoryLock
from pipeline.plain import differences
from pipeline.run.creating import create_run, environment_versions
from pipeline.run.cut_back import refuse_cut_back
from pipeline.run.events import Event, EventLog
from pipeline.run.former_names import existing
from pipeline.run.identity import origin_cycle, run_id_of
from pipeline.run.logged import LogIndex, contradiction, machine_of
from pipeline.run.pool import Pool
from pipeline.run.reading import (
    CONFIG,
    EVENTS,
    check_configuration,
    check_unchanged,
    cycle_path,
    logged_stage,
    read_begun,
    read_config,
    read_events,
)
from pipeline.run.stages.binding import Binding
from pipeline.run.stages.store import Manifest, read_manifest, remove_leftovers, set_aside, write_stage

__all__ = [
    "CONFIG",
    "EVENTS",
    "RunDirectory",
    "Stage",
    "check_configuration",
    "check_unchanged",
    "create_run",
    "cycle_path",
    "environment_versions",
    "logged_stage",
    "read_begun",
    "read_config",
    "read_events",
]

Stage = Literal["train", "migrate", "score", "sequential"]


class RunDirectory:
    """A run opened for writing; holds its lock until closed.

    Args:
        path: the run.
        warn: told, in one line, of anything repaired.
        lock: the directory's, where it is held already; it is released with the run.

    Raises:
        PipelineError: no such run, held by another process, or damaged.

    """

    def __init__(self, path: Path, warn: Callable[[str], None], lock: DirectoryLock | None = None) -> None:
        self.path = path
        self.warn = warn
        self.config = read_config(path)
        self._pool: Pool | None = None
        self._lock = lock or DirectoryLock(path)
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
            run_id = run_id_of(digest, facts["dataset_sha256"])
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
        if manifest is None and cycle < origin_cycle(self.events):
            raise PipelineError(
                f"{directory} {trouble} and was made by the run that this one was forked from, with its settings: "
                "restore it from a copy, or fork that run again"
            )
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
