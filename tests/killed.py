"""Runs as a kill leaves them behind, and as an older copy of their log does."""

import json
import shutil


def lines_of(run):
    return (run / "events.jsonl").read_bytes().splitlines(keepends=True)


def cut_back(run, keep):
    """Leave the first events of a log alone, as an older copy of it: all the rest of the run stays."""
    (run / "events.jsonl").write_bytes(b"".join(lines_of(run)[:keep]))


def kill_at(run, keep):
    """Leave a run as a kill before an event would: a stage that this event logs is complete, and nothing came later.

    Args:
        run: its directory.
        keep: how many events had been logged.

    """
    events = [json.loads(line) for line in lines_of(run)]
    cut_back(run, keep)
    kept = {(event["cycle"], event["stage"]) for event in events[:keep] if event["event"] == "stage_done"}
    for event in events[keep + 1 :]:
        if event["event"] == "stage_done" and (event["cycle"], event["stage"]) not in kept:
            shutil.rmtree(run / f"cycles/{event['cycle']:03d}/{event['stage']}", ignore_errors=True)
    for event in events[keep:]:
        if event["event"] == "cycle_done":
            (run / "metrics.csv").unlink(missing_ok=True)
        if event["event"] in ("query", "label", "skip"):
            for name in ("query.jsonl", "labels.jsonl"):
                (run / f"cycles/{event['cycle']:03d}" / name).unlink(missing_ok=True)
    for cycle in run.glob("cycles/*"):
        if not any(cycle.iterdir()):
            cycle.rmdir()


def kill_before(run, cut):
    """Leave a run as a kill before the first event for which ``cut`` holds would; see ``kill_at``."""
    kill_at(run, next(number for number, line in enumerate(lines_of(run)) if cut(json.loads(line))))
