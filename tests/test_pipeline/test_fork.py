"""``pipeline fork``: a run goes on as another one from the beginning of a cycle; ``status`` says where each stands."""

import json
import shutil

import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.errors import PipelineError, RunFailedError
from pipeline.lock import DirectoryLock
from pipeline.run.rundir import RunDirectory, read_events
from pipeline.verify.run import verify

OF_LABELS = ("query", "label", "skip", "round_closed")
FIELDS = ("cycle", "ids", "labels", "skipped", "left", "annotator")


@pytest.fixture
def finished(start, go_on):
    path = start(query__strategy="margin", annotator__skip=0.2, annotator__late=0.2)
    go_on(path)
    return path


@pytest.fixture
def failing(start, go_on):
    """A run whose training diverges at every rate that it tries."""
    path = start(query__strategy="margin", train__max_lr=1.0e30, train__restarts=0)
    with pytest.raises(RunFailedError) as error:
        go_on(path)
    return path, str(error.value)


def call(*arguments, code=0):
    result = CliRunner().invoke(cli, [str(each) for each in arguments], prog_name="pipeline")
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout if code == 0 else result.stderr.splitlines()[-1]


def status(run):
    return json.loads(call("status", run, "--json"))


def said_before(run, cycle):
    """What was asked and answered before a cycle."""
    return [
        [event["event"], *(event.get(field) for field in FIELDS)]
        for event in read_events(run)
        if event["event"] in OF_LABELS and event["cycle"] < cycle
    ]


@pytest.mark.parametrize("cycle", [0, 1, 2])
def test_a_fork_keeps_the_record_up_to_its_cycle_and_goes_on_with_the_change(finished, go_on, cycle):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    said = call("fork", finished, "--at-cycle", cycle, "--set", "train.epochs=12")
    new = finished.with_name("run-fork")
    assert f"begins at cycle {cycle} with " in said
    assert "changed: train.epochs: 8 -> 12\n" in said
    assert said.endswith(f"go on with: pipeline resume {new}\n")
    assert before == {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    assert verify(new).faults == []
    assert status(new)["standing"] == "stopped"
    start, old = read_events(new)[0], read_events(finished)
    assert start["run_id"] != old[0]["run_id"]
    assert (start["origin"]["run"], start["origin"]["cycle"]) == (old[0]["run_id"], cycle)
    assert start["origin"]["event"] in [event["hash"] for event in old]
    recorder = go_on(new)
    assert [stage for stage in recorder.stages if stage[0] < cycle] == []
    assert len(recorder.rows) == 3
    assert said_before(new, cycle) == said_before(finished, cycle)
    assert recorder.rows[2].epochs == 12
    assert verify(new).faults == []
    assert status(new)["forked_from"] == f"run {old[0]['run_id']} at cycle {cycle}"


def test_a_fork_that_changes_what_does_not_matter_before_gives_the_same_networks(finished, go_on):
    """The bits of the original, from the same beginnings: only how much is asked for in the end is another number."""
    call("fork", finished, "--at-cycle", 2, "--set", "query.subset=29")
    new = finished.with_name("run-fork")
    go_on(new)
    weights = "cycles/002/train/weights.safetensors"
    assert (new / weights).read_bytes() == (finished / weights).read_bytes()


def test_a_run_that_diverged_says_how_it_goes_on_and_does(failing, go_on):
    run, said = failing
    rate = 1.0e30 / 4
    command = f"pipeline fork {run} --at-cycle 0 --set train.max_lr={rate:.3g}"
    assert said.endswith(f"with other settings a new run goes on from there: {command}")
    found = status(run)
    assert (found["standing"], found["or"], found["next"]) == ("failed", command, f"pipeline resume {run}")
    assert "diverged" in found["last_error"] or "rate" in found["last_error"]
    call("fork", run, "--at-cycle", 0, "--set", "train.max_lr=0.1")
    assert len(go_on(run.with_name("run-fork")).rows) == 3


def test_what_fails_again_for_the_same_reason_says_so(start, go_on, monkeypatch):
    path = start(query__strategy="margin")
    monkeypatch.setattr("pipeline.run.loop.run_score", lambda *_: (_ for _ in ()).throw(RunFailedError("too large")))
    for again in (False, True):
        with pytest.raises(RunFailedError) as error:
            go_on(path)
        assert ("it failed so before, and will again as it is" in str(error.value)) == again
    assert [event["event"] for event in read_events(path)].count("failed") == 1


REFUSED = [
    (("--at-cycle", 3), "train.epochs=9", "--at-cycle: expected 0 to 2, which the run has reached, got 3"),
    (("--at-cycle", 2), "cycles=2", "--at-cycle: expected less than the 2 cycles of the run, got 2: give --set"),
    (("--at-cycle", 1), "seed=0", "--set: expected a setting that changes something"),
    (("--at-cycle", 1), "query.n_init=13", "--set query.n_init: the initial labels are part of the record"),
    (("--at-cycle", 1), "model.options.width=8", "give --at-cycle 0"),
    (("--at-cycle", 1), "annotator={name: page}", "is not forked"),
    (("--at-cycle", 1), "data.name=mnist5k", "is not the one that the run began with"),
    (("--at-cycle", 1), "train.bogus=1", "there is no key 'train.bogus'"),
]


@pytest.mark.parametrize(("where", "setting", "line"), REFUSED, ids=[setting for _, setting, _ in REFUSED])
def test_what_contradicts_the_record_is_refused_and_nothing_is_made(finished, where, setting, line):
    assert line in call("fork", finished, *where, "--set", setting, code=2)
    assert sorted(path.name for path in finished.parent.iterdir()) == ["run"]


def test_a_run_within_a_run_and_a_log_that_was_cut_back_are_refused(finished):
    out = ("--at-cycle", "1", "--set", "train.epochs=3", "--out", str(finished / "new"))
    result = CliRunner().invoke(cli, ["fork", str(finished), *out])
    assert (result.exit_code, f"lies within the run {finished}: name a place beside it" in result.stderr) == (2, True)
    assert not (finished / "new").exists()
    (finished / "events.jsonl").write_bytes((finished / "events.jsonl").read_bytes().split(b"\n")[0] + b"\n")
    result = CliRunner().invoke(cli, ["fork", str(finished), *out[:-1], str(finished.parent / "new")])
    assert (result.exit_code, "events.jsonl ends too early" in result.stderr) == (2, True)


def test_another_network_from_the_first_cycle_on(finished, go_on):
    call("fork", finished, "--at-cycle", 0, "--set", "model.options.width=8", "--out", finished.with_name("new"))
    assert go_on(finished.with_name("new")).rows[0].n_labelled > 0


def test_a_damaged_stage_of_the_origin_is_not_made_anew_with_other_settings(finished, go_on, tmp_path):
    call("fork", finished, "--at-cycle", 1, "--set", "train.epochs=12", "--out", tmp_path / "new")
    shutil.rmtree(tmp_path / "new/cycles/000/train")
    with pytest.raises(PipelineError, match=r"cycles/000/train is damaged and was made by the run that this one was"):
        go_on(tmp_path / "new")
    shutil.copytree(finished / "cycles/000/train", tmp_path / "new/cycles/000/train")  # bound to another run
    with pytest.raises(PipelineError, match=r"does not belong there \(it is of run "):
        go_on(tmp_path / "new")
    said = call("stage", "train", tmp_path / "new", "--cycle", 0, code=2)
    assert "cycle 0 was done by the run that" in said


def test_where_a_run_stands(finished, start):
    found = status(finished)
    assert (found["standing"], found["cycle"]) == ("finished", "3 of 3 done; last stage done: train of cycle 2")
    assert found["labels"].endswith("skipped")
    with DirectoryLock(finished):
        assert "works on it" in status(finished)["state"]
    fresh = start("fresh", query__strategy="margin")
    assert status(fresh)["standing"] == "not begun"
    (finished / "events.jsonl").write_bytes(b"".join((finished / "events.jsonl").read_bytes().splitlines(True)[:4]))
    assert status(finished)["standing"] == "damaged"


def test_a_run_that_waits_for_labels_says_what_for(start, go_on):
    from pipeline.annotators import WaitingForLabels

    run = start(query__strategy="margin", annotator__name="files")
    with pytest.raises(WaitingForLabels):
        go_on(run)
    found = status(run)
    assert (found["standing"], found["state"]) == ("waiting", "waits for labels of 12 samples")
    assert found["next"].startswith(f"pipeline export {run}, fill in the column 'label', pipeline ingest {run} ")
    with RunDirectory(run, print):
        assert status(run)["standing"] == "going on"
    asked = [event for event in read_events(run) if event["event"] == "query"][-1]["ids"]
    file = run.with_name("said.csv")
    file.write_text("sample_id,label\n" + "".join(f"{sample},{n % 10}\n" for n, sample in enumerate(asked[:-1])))
    call("ingest", run, file)
    assert status(run)["state"] == "waits for labels of 1 samples"
    file.write_text(f"sample_id,label\n{asked[-1]},3\n")
    call("ingest", run, file)
    found = status(run)
    assert (found["standing"], found["state"], found["next"]) == ("waiting", "all answered", f"pipeline resume {run}")
