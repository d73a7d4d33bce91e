"""A run that goes on as another one, with other settings: its record up to a cycle is kept and bound."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.files import replacing_folder
from pipeline.config import RunConfig, load_config
from pipeline.errors import PipelineError
from pipeline.files import write_json, write_json_lines
from pipeline.plain import differences
from pipeline.run.began import FILE
from pipeline.run.context import open_context
from pipeline.run.creating import create_run
from pipeline.run.cut_back import refuse_cut_back
from pipeline.run.events import Event, EventLog
from pipeline.run.former_names import present_name
from pipeline.run.identity import run_id_of
from pipeline.run.logged import LogIndex
from pipeline.run.pool import INITIAL, Pool
from pipeline.run.reading import EVENTS, check_configuration, cycle_path, logged_stage
from pipeline.run.recorded import code_sha256
from pipeline.run.rerun import LOGGED
from pipeline.run.round_files import LABELS
from pipeline.run.stages.binding import Binding
from pipeline.run.stages.select import QUERY
from pipeline.run.stages.store import MANIFEST, read_manifest
from pipeline.run.summary import write_report

OF_LABELS = ("query", "label", "skip", "undo", "class_added", "round_closed")
CHAIN = ("seq", "event", "prev", "hash")


class Forked(NamedTuple):
    """What a new run begins with.

    Args:
        labels: of the record that was kept.
        networks: that came with it.
        changed: the settings, ``field: old -> new``.

    """

    labels: int
    networks: int
    changed: list[str]


def fork(
    run: Path, config: RunConfig, events: Sequence[Event], at_cycle: int, sets: Sequence[str], out: Path
) -> Forked:
    """Make a run that goes on from the beginning of a cycle with other settings; the first one is only read.

    What was asked and answered before is copied into the new log, event by event, as are the networks of earlier
    cycles; the log's first event says of which run, up to which event, and what was changed.

    Args:
        run: the run that is gone on from.
        config: its own.
        events: its log.
        at_cycle: the first cycle that is done anew.
        sets: settings, ``A.B=C``.
        out: the new run's directory.

    Raises:
        PipelineError: the run has not come so far, a setting contradicts what is kept, or the directory is taken.

    """
    check_configuration(events[0], config)
    refuse_cut_back(run, events, config.paged)
    new, changed = _changed(config, sets, at_cycle)
    pool = Pool(0, events)
    _require_reached(run, events, pool, at_cycle, new)
    sources = _sources(run, events, at_cycle)
    open_context(new, run=run)  # what the new settings cannot do is said now
    kept = [event for event in events[1:] if _is_kept(event, at_cycle)]
    origin = {
        "run": events[0]["run_id"],
        "cycle": at_cycle,
        "event": kept[-1]["hash"],
        "changed": changed,
        **({"origin": events[0]["origin"]} if "origin" in events[0] else {}),
    }
    with replacing_folder(out) as folder:
        folder.rmdir()
        create_run(folder, new)
        _write(folder, new, events[0], kept, origin, sources)
        for cycle in range(at_cycle):
            _copy_round(cycle_path(run, cycle), cycle_path(folder, cycle), _run_id(new, events[0], origin))
        if (run / FILE).is_file():
            shutil.copyfile(run / FILE, folder / FILE)
        write_report(folder)
    return Forked(len(pool.labelled(at_cycle)), at_cycle, changed)


def _changed(config: RunConfig, sets: Sequence[str], at_cycle: int) -> tuple[RunConfig, list[str]]:
    """Return the new configuration, and what it changes; what is kept of the old run must still be its own."""
    new = load_config(base=config.model_dump(mode="json"), sets=sets)
    changed = differences(config.scientific(), new.scientific())
    if not changed:
        raise PipelineError("--set: expected a setting that changes something: 'pipeline resume' goes on as it is")
    if config.paged or new.paged:
        raise PipelineError(
            "annotator: a run that is labelled on a page is not forked: 'pipeline label' goes on with it, and a new "
            "run on its folder learns from the labels.csv of 'pipeline products'"
        )
    if new.query.n_init != config.query.n_init:
        raise PipelineError("--set query.n_init: the initial labels are part of the record: begin a new run")
    if new.query.initial != config.query.initial:
        raise PipelineError("--set query.initial: the initial labels are part of the record: begin a new run")
    if at_cycle and new.query.initial_models != config.query.initial_models:
        raise PipelineError("--set query.initial_models: the first network is kept: give --at-cycle 0")
    if at_cycle and new.model != config.model:
        raise PipelineError(
            "--set model: the networks of earlier cycles are kept, so the network stays what it is: give --at-cycle 0"
        )
    return new, changed


def _require_reached(run: Path, events: Sequence[Event], pool: Pool, at_cycle: int, new: RunConfig) -> None:
    if not pool.closed(INITIAL):
        raise PipelineError(f"{run}: its initial labels are not complete: nothing is there to go on from")
    done = {event["cycle"] for event in events if event["event"] == "cycle_done"}
    reached = max(cycle for cycle in range(len(done) + 1) if pool.closed(cycle - 1) and done.issuperset(range(cycle)))
    if at_cycle > reached:
        raise PipelineError(f"--at-cycle: expected 0 to {reached}, which the run has reached, got {at_cycle}")
    if at_cycle >= new.cycles:
        raise PipelineError(
            f"--at-cycle: expected less than the {new.cycles} cycles of the run, got {at_cycle}: give --set cycles=N"
        )


def _sources(run: Path, events: Sequence[Event], at_cycle: int) -> dict[tuple[int, str], Path]:
    """Return where the stages of earlier cycles lie, each whole and the one that the log says."""
    found = {}
    for cycle, stage in LogIndex(events).done:
        if cycle < at_cycle:
            path = logged_stage(run, events, cycle, stage, LOGGED[stage])
            if path is None:
                where = cycle_path(run, cycle) / stage
                raise PipelineError(f"{where} is missing or damaged: 'pipeline resume {run}' does it again")
            found[cycle, stage] = path
    return found


def _is_kept(event: Event, at_cycle: int) -> bool:
    if event.get("cycle", at_cycle) >= at_cycle:
        return False
    return event["event"] in (*OF_LABELS, "stage_done", "cycle_done")


def _run_id(config: RunConfig, start: Event, origin: dict[str, Any]) -> str:
    return run_id_of(config.digest(), start["dataset_sha256"], origin)


def _write(
    folder: Path,
    config: RunConfig,
    start: Event,
    kept: Sequence[Event],
    origin: dict[str, Any],
    sources: dict[tuple[int, str], Path],
) -> None:
    """Write the stages that are kept, bound to the new run, and then its log."""
    run_id = _run_id(config, start, origin)
    bound = {(cycle, stage): _copy_stage(path, folder, cycle, run_id) for (cycle, stage), path in sources.items()}
    last = {(e["cycle"], present_name(e["stage"])): e["hash"] for e in kept if e["event"] == "stage_done"}
    facts = {key: value for key, value in start.items() if key not in CHAIN}
    code = code_sha256(config)
    facts |= {"run_id": run_id, "config": config.scientific(), "config_sha256": config.digest(), "origin": origin}
    facts = {key: value for key, value in facts.items() if key != "code"} | ({"code": code} if code else {})
    log = EventLog(folder / EVENTS)
    try:
        log.append("start", **facts)
        for event in kept:
            fields = {key: value for key, value in event.items() if key not in CHAIN}
            if event["event"] == "stage_done":
                place = event["cycle"], present_name(event["stage"])
                if last[place] != event["hash"]:
                    continue  # it was done again and came out otherwise
                fields["stage"] = place[1]
                fields |= {"binding": digest} if (digest := bound[place]) else {}
            log.append(event["event"], **fields)
    finally:
        log.close()


def _copy_stage(path: Path, folder: Path, cycle: int, run_id: str) -> str | None:
    """Copy a stage and return the digest of its new binding; None where an older version bound nothing."""
    target = cycle_path(folder, cycle) / path.name
    shutil.copytree(path, target)
    manifest = read_manifest(target)
    if manifest is None:
        raise PipelineError(f"{path} was damaged while it was copied: try again")
    if manifest.binding is None:
        return None
    binding = Binding(run_id, cycle, manifest.binding.stage, manifest.binding.made_from)
    content = json.loads((target / MANIFEST).read_text())
    write_json(target / MANIFEST, content | {"binding": binding.plain()})
    return binding.digest()


def _copy_round(source: Path, target: Path, run_id: str) -> None:
    for name in (QUERY, LABELS):
        if (source / name).is_file():
            rows = [json.loads(line) for line in (source / name).read_text().splitlines()]
            write_json_lines(target / name, [row | {"run_id": run_id} if "run_id" in row else row for row in rows])
