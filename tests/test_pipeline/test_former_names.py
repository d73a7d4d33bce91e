"""Runs of versions that called the sequential query an interview: read, finished and gone on with."""

import json

import pytest
from killed import kill_before

from pipeline.run.events import EventLog
from pipeline.run.rundir import read_events
from pipeline.run.stages.store import read_stage_seconds
from pipeline.run.summary import read_rows

SEQUENTIAL = {"query__strategy": "margin-lin-sequential", "cycles": 3}


def as_before(path, cut):
    """Write a run's directory as the older version would have left it, killed before the event that is the cut."""
    if cut is not None:
        kill_before(path, cut)
    kept = read_events(path)
    (path / "events.jsonl").unlink()
    log = EventLog(path / "events.jsonl")
    for event in kept:
        fields = {key: value for key, value in event.items() if key not in ("seq", "event", "prev", "hash", "binding")}
        if fields.get("stage") == "sequential":
            fields["stage"] = "interview"
        log.append(event["event"], **fields)
    log.close()
    for manifest in path.glob("cycles/*/*/manifest.json"):
        content = json.loads(manifest.read_text())
        del content["binding"]
        manifest.write_text(json.dumps(content))
    for stage in path.glob("cycles/*/sequential"):
        (stage / "sequential.json").rename(stage / "interview.json")
        manifest = (stage / "manifest.json").read_text()
        (stage / "manifest.json").write_text(manifest.replace("sequential.json", "interview.json"))
        stage.rename(stage.with_name("interview"))


def queries(path):
    return [(event["cycle"], event["ids"]) for event in read_events(path) if event["event"] == "query"]


@pytest.mark.parametrize(
    "cut",
    [
        None,
        lambda event: event["event"] == "stage_done" and event["stage"] == "sequential",
        lambda event: event["event"] == "stage_done" and (event["stage"], event["cycle"]) == ("train", 1),
    ],
    ids=["finished", "in the first cycle", "between the cycles"],
)
def test_such_a_run_goes_on_with_the_same_queries_and_keeps_its_names(start, go_on, cut):
    path = start(**SEQUENTIAL)
    first = go_on(path)
    rows = first.rows
    asked, seconds = queries(path), read_stage_seconds(path / "cycles/000", "score")
    as_before(path, cut)
    again = go_on(path)
    assert queries(path) == asked
    assert [row.test_accuracy for row in again.rows] == [row.test_accuracy for row in rows]
    assert again.warnings == first.warnings
    assert read_stage_seconds(path / "cycles/000", "score") == seconds
    assert [folder.name for folder in sorted((path / "cycles/000").iterdir()) if folder.is_dir()] == [
        "interview",
        "migrate",
        "score",
        "train",
    ]
    assert read_rows(path)[0].test_accuracy == rows[0].test_accuracy
    assert json.loads((path / "cycles/000/interview/manifest.json").read_text())["files"].keys() == {"interview.json"}
