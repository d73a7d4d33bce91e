"""A log that was cut back to an earlier line is told from one that a kill left behind."""

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from killed import cut_back, kill_at, lines_of

from pipeline.cli import cli
from pipeline.errors import PipelineError
from pipeline.run.cut_back import refuse_cut_back
from pipeline.run.events import EventLog
from pipeline.run.rundir import RunDirectory, read_begun, read_events

KINDS = {
    "plain": {"query__strategy": "margin"},
    "port": {"query__strategy": "mlmoc-flips"},
    "sequential": {"query__strategy": "margin-lin-sequential", "query__size": 3, "annotator__skip": 0.2},
}


@pytest.fixture(params=KINDS)
def finished(request, start, go_on):
    path = start(**KINDS[request.param])
    go_on(path)
    return path


@pytest.fixture
def plain(start, go_on):
    path = start(**KINDS["plain"])
    go_on(path)
    return path


def shown(path, **options):
    """What a run's log is refused for; empty where it is not."""
    try:
        refuse_cut_back(path, read_begun(path), **options)
    except PipelineError as error:
        return re.search("ends too early, since (.*): it was cut back or is an older copy", str(error))[1]
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_after_any_write_is_no_cut(start, go_on, monkeypatch, kind):
    """Whatever is durable at any moment of a run is what a kill at that moment leaves."""
    path, looked = start(**KINDS[kind]), []

    def look_after(owner, name):
        write = getattr(owner, name)

        def look(*arguments, **named):
            done = write(*arguments, **named)
            if (path / "events.jsonl").is_file():
                looked.append((name, shown(path)))
            return done

        monkeypatch.setattr(owner, name, look)

    look_after(EventLog, "append")
    look_after(Path, "rename")
    look_after(Path, "mkdir")
    look_after(__import__("pipeline.files").files, "write_bytes")
    go_on(path)
    assert {name for name, _ in looked} == {"append", "rename", "mkdir", "write_bytes"}
    assert len(looked) > 50
    assert {said for _, said in looked} == {""}


def test_every_older_copy_of_a_finished_runs_log_is_refused_but_one(finished):
    """The one that lacks nothing but the last event, which goes on to the same end."""
    lines = lines_of(finished)
    accepted = []
    for keep in range(1, len(lines)):
        (finished / "events.jsonl").write_bytes(b"".join(lines[:keep]))
        if not shown(finished):
            accepted.append(keep)
    assert accepted == [len(lines) - 1]


def test_it_is_one_line_and_nothing_is_changed(plain):
    cut_back(plain, 9)
    before = {file: file.read_bytes() for file in plain.rglob("*") if file.is_file()}
    for command in (["resume", plain], ["ingest", plain, plain / "config.yaml"]):
        result = CliRunner().invoke(cli, [str(word) for word in command])
        assert result.exit_code == 2, result.output
        assert result.stderr.count("\n") == 1
    with pytest.raises(PipelineError, match="restore it from a copy of the whole run"), RunDirectory(plain, print):
        pass
    assert {file: file.read_bytes() for file in plain.rglob("*") if file.is_file()} == before


def test_each_thing_that_a_log_does_not_know_shows_it_alone(plain):
    whole, cycles = plain.with_name("whole"), "cycles/000/"
    shutil.copytree(plain, whole)
    events = read_events(plain)
    at = next(n for n, e in enumerate(events) if e["event"] == "query" and e["cycle"] == 0)
    wrong = {
        cycles + "query.jsonl": "query.jsonl has questions that it has not",
        cycles + "labels.jsonl": "labels.jsonl has answers that it has not",
        "metrics.csv": "metrics.csv has cycle 2, which it does not",
        "cycles/001": "it knows nothing of .*/cycles/001",
    }
    for name, message in wrong.items():
        kill_at(plain, at)
        assert not shown(plain)
        copy = shutil.copytree if (whole / name).is_dir() else shutil.copy
        copy(whole / name, plain / name)
        assert re.search(message, shown(plain)), name
        shutil.rmtree(plain)
        shutil.copytree(whole, plain)


def test_one_stage_that_is_not_logged_is_a_kill_and_two_are_not(plain):
    events = read_events(plain)
    train, score = (n for n, e in enumerate(events) if e["event"] == "stage_done" and e["cycle"] == 1)
    for name in ("query.jsonl", "labels.jsonl"):
        (plain / "cycles/001" / name).unlink()
    (plain / "metrics.csv").unlink()
    shutil.rmtree(plain / "cycles/002")
    cut_back(plain, score)
    assert not shown(plain)
    cut_back(plain, train)
    assert re.search("it knows neither of .*001/train nor of .*001/score", shown(plain))
    assert not shown(plain, paged=True)  # where networks are made behind, a kill leaves both
    shutil.rmtree(plain / "cycles/001/train")
    assert not shown(plain)


def test_a_stage_of_another_run_or_a_damaged_one_shows_nothing(plain):
    events = read_events(plain)
    kill_at(plain, next(n for n, e in enumerate(events) if e["event"] == "stage_done" and e["cycle"] == 1))
    score = plain / "cycles/001/score"
    shutil.copytree(plain / "cycles/000/score", score)
    assert not shown(plain)  # it is of cycle 0
    manifest = json.loads((score / "manifest.json").read_text())
    manifest["binding"] |= {"cycle": 1}
    (score / "manifest.json").write_text(json.dumps(manifest))
    assert shown(plain)
    manifest["binding"] |= {"run": "another"}
    (score / "manifest.json").write_text(json.dumps(manifest))
    assert not shown(plain)


@pytest.mark.parametrize("content", ["no JSON\n", "[]\n", '{"sample_id": []}\n', "\xff\n", ""])
def test_files_for_people_that_somebody_changed_show_nothing(plain, content):
    for name in ("query.jsonl", "labels.jsonl"):
        (plain / "cycles/000" / name).write_text(content, encoding="latin-1")
    (plain / "metrics.csv").write_text(content, encoding="latin-1")
    (plain / "cycles/notes").mkdir()
    assert not shown(plain)


def test_a_page_has_begun_a_network_before_the_last_one_has_stopped_asking(plain):
    events = read_events(plain)
    at = next(n for n, e in enumerate(events) if e["event"] == "cycle_done" and e["cycle"] == 0)
    for name in ("cycles/001", "cycles/002"):
        for file in (plain / name).glob("*.jsonl"):
            file.unlink()
    (plain / "metrics.csv").unlink()
    shutil.rmtree(plain / "cycles/002")
    cut_back(plain, at)
    assert shown(plain)
    assert not shown(plain, paged=True)
