"""A log that ends earlier than it did: what else lies in the run's directory shows it, as far as it goes.

Every line of a log that was cut back, or of an older copy of it, is intact.  But everything else of a run is written
after the events that it comes from, and a stage right before its own.  So a kill leaves behind one stage that the log
does not know, at most, and no file that knows more than the log does.
"""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common.reading import parse_json, read_text
from pipeline.errors import PipelineError
from pipeline.run.events import Event
from pipeline.run.former_names import existing
from pipeline.run.logged import LogIndex
from pipeline.run.stages.store import read_manifest

STAGES = ("train", "migrate", "score", "sequential")


def refuse_cut_back(run: Path, events: Sequence[Event], paged: bool = False) -> None:
    """Refuse a log that lacks events which must have been there, as the files beside it show.

    Args:
        run: the run directory; it is only read.
        events: its log.
        paged: whether people answer on a page, where networks are made behind: several stages of the one that is being
            made may be complete before the log says so, and the one before it has asked to no end.

    Raises:
        PipelineError: the log was cut back, or is an older copy.

    """
    if shown := next(_evidence(run, events, LogIndex(events), paged), ""):
        raise PipelineError(
            f"{run / 'events.jsonl'} ends too early, since {shown}: it was cut back or is an older copy, and what was "
            "asked and answered since is not in it; restore it from a copy of the whole run"
        )


def _evidence(run: Path, events: Sequence[Event], log: LogIndex, paged: bool) -> Iterator[str]:
    folders = sorted(folder for folder in run.glob("cycles/[0-9]*") if folder.name.isdigit() and folder.is_dir())
    for folder in folders:
        cycle = int(folder.name)
        if not _reached(cycle, log, paged):
            yield f"it knows nothing of {folder}"
        yield from _unknown_rows(folder, [event for event in events if event.get("cycle") == cycle])
    left = [path for folder in folders for path in _unlogged(folder, events, log)]
    if paged:  # a network that failed at a later stage left what came before it
        left = [path for path in left if not log.has("failed", int(path.parent.name))]
    of_one = {path.parent for path in left} if paged else left
    if len(of_one) > 1:
        yield f"it knows neither of {left[0]} nor of {left[-1]}"
    if unknown := _measured(run / "metrics.csv") - {e["cycle"] for e in events if e["event"] == "cycle_done"}:
        yield f"{run / 'metrics.csv'} has cycle {max(unknown)}, which it does not"


def _reached(cycle: int, log: LogIndex, paged: bool) -> bool:
    """Tell whether a log goes as far as the beginning of a cycle."""
    if any((cycle, stage) in log.done for stage in STAGES):
        return True
    if cycle == 0:
        return log.has("label", None)
    return log.has("cycle_done", cycle - 1) or (paged and log.has("round_closed", cycle - 1))


def _unlogged(folder: Path, events: Sequence[Event], log: LogIndex) -> Iterator[Path]:
    """Yield the stages of a cycle that are complete and this run's, although the log does not say so."""
    cycle = int(folder.name)
    for stage in STAGES:
        path = existing(folder, stage)
        if (cycle, stage) in log.done or (manifest := read_manifest(path)) is None:
            continue
        bound = manifest.binding  # older versions wrote none
        if bound is None or (bound.run, bound.cycle) == (events[0].get("run_id"), cycle):
            yield path


def _unknown_rows(folder: Path, events: Sequence[Event]) -> Iterator[str]:
    """Yield what a cycle's files of questions and answers have and its events have not."""
    asked = Counter(sample for event in events if event["event"] == "query" for sample in event["ids"])
    said = Counter(("labeled", sample) for e in events if e["event"] == "label" for sample, _ in e["labels"])
    said.update(("skipped", sample) for event in events if event["event"] == "skip" for sample in event["ids"])
    questions, answers = folder / "query.jsonl", folder / "labels.jsonl"
    if Counter(row.get("sample_id") for row in _rows(questions)) - asked:
        yield f"{questions} has questions that it has not"
    if Counter((row.get("status", "labeled"), row.get("sample_id")) for row in _rows(answers)) - said:
        yield f"{answers} has answers that it has not"


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file that is written anew from the log; none where somebody else changed it."""
    try:
        rows = [parse_json(line) for line in read_text(path).splitlines()] if path.is_file() else []
        Counter((row.get("status"), row.get("sample_id")) for row in rows)
    except (OSError, ValueError, TypeError, AttributeError):
        return []
    return rows


def _measured(path: Path) -> set[int]:
    """The cycles that a file of metrics is about; none where somebody else changed it."""
    try:
        if not path.is_file():
            return set()
        with path.open(newline="") as file:
            return {int(row["cycle"]) for row in csv.DictReader(file)}
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return set()
