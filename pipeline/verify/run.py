"""``verify``: a whole run checked against its log, its data and itself; it is only read."""

from collections.abc import Callable
from pathlib import Path

from pipeline.config import RunConfig
from pipeline.lock import holder_of, is_held
from pipeline.places import EVENTS
from pipeline.run.cut_back import refuse_cut_back
from pipeline.run.events import Event, parse_events
from pipeline.run.identity import run_id_of
from pipeline.run.loading import load_data
from pipeline.run.pool import Pool
from pipeline.run.reading import CONFIG, check_configuration, check_unchanged, read_begun, read_config
from pipeline.verify.accuracies import check_accuracies
from pipeline.verify.backbone import check_backbone
from pipeline.verify.derived import check_derived
from pipeline.verify.findings import Findings
from pipeline.verify.record import Record, check_labels, command_of
from pipeline.verify.stages import check_stages
from trainer.data import DataSet

IMAGES = "images"
"""Folder of a run's decoded images."""


def verify(run: Path, *, trust_code: bool = False, say: Callable[[str], None] = lambda _: None) -> Findings:
    """Check everything that a run's directory says: the log's chain, what it says of itself, every stage and number.

    Args:
        run: its directory, which nobody needs to hold.
        trust_code: whether a network of the user's own may be imported, to compute accuracies again.
        say: told, in one line each, what is being done.

    Returns:
        What is wrong, and what was looked at.

    Raises:
        PipelineError: it is no run.

    """
    found = Findings()
    if is_held(run):
        found.note(run, f"{holder_of(run)} is working on it: what comes meanwhile is not checked")
    record = _record(run, found)
    if record is None:
        return found
    say("the stages")
    check_stages(record, found)
    before = len(found.faults)
    check_backbone(record, found, trust_code=trust_code, say=say)
    sees = len(found.faults) == before
    if record.data is not None:
        say("questions, answers and metrics")
        check_derived(record, record.data, found)
    if record.data is not None and sees:
        say("the networks' accuracies")
        check_accuracies(record, found, trust_code=trust_code, say=say)
    return found


def _record(run: Path, found: Findings) -> Record | None:
    """Return what a run's record says; None where it says nothing that the rest could be compared with."""
    config, events = (
        found.read(run / CONFIG, lambda: read_config(run)),
        found.read(run / EVENTS, lambda: read_begun(run)),
    )
    if events is not None:
        found.count("events", len(events))
        _look_for_a_torn_line(run / EVENTS, "pipeline resume" if config is None else command_of(config), found)
    if config is None or not events:
        if config is not None and events is not None:
            found.note(run, f"it has no events yet: '{command_of(config)}' begins it")
        return None
    with found.reading(run / EVENTS):
        _check_start(run, config, events[0], found)
    with found.reading(run / EVENTS):
        refuse_cut_back(run, events, config.paged)
    data = found.read(run / EVENTS, lambda: _data(run, config, events[0]))
    pool = found.read(run / EVENTS, lambda: Pool(0 if data is None else len(data.train), events))
    if pool is None:
        return None
    record = Record(run, config, events, pool, data)
    if data is not None:
        found.count("data sets")
        with found.reading(run / EVENTS):
            check_labels(record, found)
    return record


def _look_for_a_torn_line(log: Path, command: str, found: Findings) -> None:
    content = log.read_bytes() if log.is_file() else b""
    if parse_events(content, log)[1] != len(content):
        found.note(log, f"its last line is torn, as a kill leaves it: '{command}' cuts it")


def _check_start(run: Path, config: RunConfig, start: Event, found: Findings) -> None:
    check_configuration(start, config)
    if start["run_id"] != run_id_of(config.digest(), start["dataset_sha256"], start.get("origin")):
        found.fault(run / EVENTS, "line 1 gives the run another name than its configuration and data have")


def _data(run: Path, config: RunConfig, start: Event) -> DataSet:
    """Return a run's data, compared with what it began with."""
    data = load_data(config, run / IMAGES if (run / IMAGES).is_dir() else None, run=run, features=False)
    check_unchanged(start, config, data.fingerprint())
    return data
