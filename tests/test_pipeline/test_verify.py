"""``pipeline verify``: whatever of a run is not what it was is a line that names it; a right run has none."""

import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from killed import kill_before, lines_of
from session_cases import answer, make, network, opened, until

from common.files import sha256_of
from pipeline.cli import cli
from pipeline.errors import PipelineError
from pipeline.report.results import read_results
from pipeline.run.believed import believed_rows
from pipeline.run.events import EventLog
from pipeline.run.rundir import read_events
from pipeline.verify.run import verify

KINDS = {
    "plain": {"query__strategy": "margin", "annotator__skip": 0.2, "annotator__late": 0.2},
    "remembers": {"query__strategy": "albl"},
    "sequential": {"query__strategy": "margin-lin-sequential", "query__size": 2},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Finished runs, which tests copy: whole(kind)."""
    made = {}

    def of(kind, start, go_on):
        if kind not in made:
            path = start(**KINDS[kind])
            go_on(path)
            made[kind] = tmp_path_factory.mktemp(kind) / "run"
            shutil.move(path, made[kind])
        return made[kind]

    return of


@pytest.fixture
def finished(whole, tmp_path, start, go_on):
    return shutil.copytree(whole("plain", start, go_on), tmp_path / "mine")


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_right_has_no_fault(whole, start, go_on, kind):
    found = verify(whole(kind, start, go_on))
    assert (found.faults, found.notes) == ([], [])
    assert found.checked["networks"] == 3


@pytest.mark.parametrize("cut", ["query", "label", "round_closed", "stage_done", "cycle_done", "finished"])
def test_what_a_kill_leaves_behind_is_no_fault(finished, cut):
    kill_before(finished, lambda event: event["event"] == cut and event.get("cycle", 1) == 1)
    assert verify(finished).faults == []


def alter_summary(run):
    """Write a better accuracy, and the manifest that goes with it."""
    train = run / "cycles/001/train"
    summary, manifest = (json.loads((train / name).read_text()) for name in ("summary.json", "manifest.json"))
    (train / "summary.json").write_text(json.dumps(summary | {"test_accuracy": 0.99}))
    size = (train / "summary.json").stat().st_size
    manifest["files"]["summary.json"] = {"sha256": sha256_of(train / "summary.json"), "bytes": size}
    (train / "manifest.json").write_text(json.dumps(manifest))


def relabel(run):
    """Write the whole log again, with another label in it: its chain is right."""
    events = read_events(run)
    (run / "events.jsonl").unlink()
    log = EventLog(run / "events.jsonl")
    for event in events:
        fields = {key: value for key, value in event.items() if key not in ("seq", "event", "prev", "hash")}
        if event["event"] == "label" and event["cycle"] == 0:
            fields["labels"] = [[sample, (label + 1) % 10] for sample, label in fields["labels"]]
        log.append(event["event"], **fields)
    log.close()


def write(name, text):
    return lambda run: (run / name).write_text(text)


def flip(name):
    def change(run):
        content = bytearray((run / name).read_bytes())
        content[len(content) // 2] ^= 1
        (run / name).write_bytes(content)

    return change


def swap(one, other):
    def change(run):
        (run / one).rename(run / "aside")
        (run / other).rename(run / one)
        (run / "aside").rename(run / other)

    return change


CHANGES = {
    "weights": (flip("cycles/000/train/weights.safetensors"), "cycles/000/train/weights.safetensors: is damaged: it"),
    "manifest": (write("cycles/001/score/manifest.json", "{}"), "cycles/001/score/manifest.json: is damaged"),
    "a stage is lost": (lambda run: shutil.rmtree(run / "cycles/001/train"), "cycles/001/train: is missing although"),
    "stages": (swap("cycles/000/train", "cycles/001/train"), "cycles/000/train/weights.safetensors: is not the one"),
    "questions": (write("cycles/000/query.jsonl", ""), "cycles/000/query.jsonl: does not say what the log and the"),
    "answers": (lambda run: (run / "cycles/001/labels.jsonl").unlink(), "cycles/001/labels.jsonl: is missing: 'pipe"),
    "metrics": (write("metrics.csv", "seed,cycle\n"), "metrics.csv: does not say what the stages say"),
    "curve": (flip("report/learning_curve.png"), "report/learning_curve.png: is no picture"),
    "log": (flip("events.jsonl"), "events.jsonl: line "),
    "configuration": (
        lambda run: (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("seed: 0", "seed: 1")),
        "config.yaml was changed since the run began (seed: 0 -> 1)",
    ),
    "accuracy": (alter_summary, "cycles/001/train/summary.json: says a test accuracy of 0.99, but the weights beside"),
    "another label": (relabel, "cycles/001/train: was not made from the labelled that the log has"),
    "an older log": (
        lambda run: (run / "events.jsonl").write_bytes(b"".join(lines_of(run)[:6])),
        "events.jsonl ends too early",
    ),
    "a folder": (lambda run: (run / "cycles/001/other").mkdir(), "cycles/001/other: is no stage that the log knows"),
}


UNBELIEVED = ["manifest of a network", "stages", "configuration", "an older log", "a summary", "no folder"]


@pytest.mark.parametrize("change", UNBELIEVED)
def test_whoever_only_reads_a_run_believes_no_number_that_its_record_contradicts(finished, change):
    assert len(believed_rows(finished)) == 3
    others = {
        "manifest of a network": write("cycles/001/train/manifest.json", "[" * 10**5),
        "a summary": lambda run: shutil.copy(
            run / "cycles/002/train/summary.json", run / "cycles/001/train/summary.json"
        ),
        "no folder": lambda run: ((run / "cycles").rename(run / "aside"), write("cycles", "")(run)),
    }
    (others.get(change) or CHANGES[change][0])(finished)
    with pytest.raises(PipelineError, match="config.yaml was changed|events.jsonl ends too|cycles"):
        believed_rows(finished)
    with pytest.raises(PipelineError, match="finished run, but none of 1 is .*(damaged|unfinished): "):
        read_results([finished])


@pytest.mark.parametrize("thing", [Path.mkdir, lambda lock: lock.symlink_to("nowhere"), os.mkfifo])
def test_what_is_no_lock_is_named_before_anybody_waits_for_it(finished, thing):
    (finished / "lock").unlink(missing_ok=True)
    thing(finished / "lock")
    for command in ("verify", "status", "resume"):
        result = CliRunner().invoke(cli, [command, str(finished)])
        assert result.exit_code == 2
        assert f"error: {finished}/lock: expected an empty file, but it is a " in result.stderr


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_wrong_is_named(finished, change):
    spoil, line = CHANGES[change]
    spoil(finished)
    faults = verify(finished).faults
    assert any(line in fault for fault in faults), faults
    assert all(str(finished) in fault for fault in faults)


def test_the_command_prints_faults_and_ends_with_1(finished):
    result = CliRunner().invoke(cli, ["verify", str(finished)])
    assert (result.exit_code, result.stdout.count("\n")) == (0, 1)
    assert ": no fault in " in result.stdout
    CHANGES["weights"][0](finished)
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    result = CliRunner().invoke(cli, ["verify", str(finished)])
    assert result.exit_code == 1
    assert result.stdout.startswith(f"FAULT {finished}/cycles/000/train/weights.safetensors: is damaged")
    assert result.stderr.splitlines()[-1].startswith(f"failed: {finished}: 1 fault; checked: ")
    assert before == {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    assert CliRunner().invoke(cli, ["verify", str(finished / "cycles")]).exit_code == 2


def test_a_run_that_people_labelled_on_a_page_has_no_fault(tmp_path):
    run = make(tmp_path / "run")
    with opened(run) as session:
        answer(session, 12)
        until(session, network(0))
        answer(session, 5)
        until(session, network(1))
        answer(session, 1)
    found = verify(run)
    assert found.faults == []
    assert found.checked["networks"] == 2
    assert not [note for note in found.notes if "behind the log" in note]  # the open round's questions, too
    (run / "cycles/000/labels.jsonl").write_text("")
    (run / "cycles/001/query.jsonl").unlink()
    (run / "metrics.csv").unlink()
    found = verify(run)
    [fault] = found.faults
    assert fault.endswith(
        "labels.jsonl: does not say what the log and the stages say: 'pipeline label' writes it again"
    )
    behind = [note for note in found.notes if "is behind the log, as a kill leaves it: 'pipeline label' writes" in note]
    assert len(behind) == 2
    with opened(run):
        pass
    found = verify(run)
    assert found.faults == []
    assert not [note for note in found.notes if "behind the log" in note]
