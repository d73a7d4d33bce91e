"""What a run says that it achieved, for those who only read it: nothing of it where its own record contradicts it."""

from collections.abc import Sequence
from pathlib import Path

from common.files import sha256_of
from common.reading import why
from pipeline.config import RunConfig
from pipeline.errors import PipelineError
from pipeline.run.cut_back import refuse_cut_back
from pipeline.run.events import Event
from pipeline.run.logged import LogIndex
from pipeline.run.reading import check_configuration, cycle_path, read_config, read_events
from pipeline.run.stages.store import MANIFEST, Manifest, examined
from pipeline.run.stages.train import SUMMARY
from pipeline.run.summary import CycleRow, read_rows
from trainer.checkpoint import WEIGHTS


def believed_rows(run: Path, config: RunConfig | None = None, events: Sequence[Event] | None = None) -> list[CycleRow]:
    """Return the rows of all finished cycles of a run, after a look at where they come from.

    Weights are not hashed: ``pipeline verify`` does that.

    Args:
        run: its directory.
        config: its own, where it was read already.
        events: its log, likewise.

    Raises:
        PipelineError: the configuration, the log and the networks' summaries are not of one run; one line that names
            the file.

    """
    config = read_config(run) if config is None else config
    events = read_events(run) if events is None else events
    if events:
        check_configuration(events[0], config)
        refuse_cut_back(run, events, config.paged)
    log = LogIndex(events)
    for event in events:
        if event["event"] == "cycle_done":
            directory = cycle_path(run, event["cycle"]) / "train"
            if fault := _fault(directory, log.done.get((event["cycle"], "train"))):
                raise PipelineError(f"{directory}{fault}: 'pipeline verify {run}' says what else is wrong")
    return read_rows(run)


def _fault(directory: Path, logged: Event | None) -> str:
    """What of a network's stage is not what the log and the stage itself say; empty where nothing is."""
    manifest, _ = examined(directory)
    if manifest is None:
        return f"/{MANIFEST} is missing or damaged"
    if logged is None or manifest.files.get(WEIGHTS) != logged["sha256"]:
        return " is not the one that the log says"
    if "binding" in logged and (manifest.binding is None or manifest.binding.digest() != logged["binding"]):
        return " was made from something else than the log says"
    return _fault_of_summary(directory / SUMMARY, manifest)


def _fault_of_summary(summary: Path, manifest: Manifest) -> str:
    try:
        same = summary.is_file() and sha256_of(summary) == manifest.files.get(SUMMARY)
    except OSError as error:
        return f"/{SUMMARY} cannot be read ({why(error)})"
    return "" if same else f"/{SUMMARY} is missing or is not the one that was written"
