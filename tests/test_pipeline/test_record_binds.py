"""What lies in a run directory is the run's own: stages of another place and damaged logs are noticed."""

import json
import os
import shutil
import signal

import pytest
from click.testing import CliRunner
from killed import kill_before

from pipeline.annotators import Answer
from pipeline.cli import cli
from pipeline.errors import PipelineError
from pipeline.run.events import EventLog
from pipeline.run.rerun import rerun
from pipeline.run.rundir import RunDirectory, logged_stage, read_config, read_events
from pipeline.run.stages.binding import Binding, labelled_sha256
from pipeline.run.stages.store import read_manifest
from pipeline.run.stages.train import WEIGHTS

PLAIN = {"query__strategy": "margin"}
SEQUENTIAL = {"query__strategy": "margin-lin-sequential", "query__size": 2}


@pytest.fixture
def finished(start, go_on):
    """A finished run of a strategy that needs no port, which the test may spoil."""
    path = start(**PLAIN)
    go_on(path)
    return path


def done(stage, cycle):
    return lambda event: (event["event"], event.get("stage"), event.get("cycle")) == ("stage_done", stage, cycle)


def replace(path, source, target):
    shutil.rmtree(path / target)
    shutil.copytree(path / source, path / target)


def bytes_of(path):
    return (path / "events.jsonl").read_bytes()


def of_another_version(path):
    """Make a run's directory one of a version that bound nothing."""
    kept = read_events(path)
    (path / "events.jsonl").unlink()
    log = EventLog(path / "events.jsonl")
    for event in kept:
        log.append(
            event["event"], **{k: v for k, v in event.items() if k not in ("seq", "event", "prev", "hash", "binding")}
        )
    log.close()
    for manifest in path.glob("cycles/*/*/manifest.json"):
        content = json.loads(manifest.read_text())
        del content["binding"]
        manifest.write_text(json.dumps(content))


@pytest.mark.parametrize(("stage", "options"), [("score", PLAIN), ("sequential", SEQUENTIAL)])
def test_a_stage_of_another_cycle_asks_nothing_twice(start, go_on, stage, options):
    path = start(**options)
    go_on(path)
    whole = bytes_of(path)
    kill_before(path, done(stage, 1))
    replace(path, f"cycles/000/{stage}", f"cycles/001/{stage}")
    recorder = go_on(path)
    [said] = [warning for warning in recorder.warnings if "set aside" in warning]
    assert f"cycles/001/{stage} does not belong there (it is of cycle 0, not 1): set aside as {stage}.damaged-" in said
    assert bytes_of(path) == whole
    asked = [sample for event in read_events(path) if event["event"] == "query" for sample in event["ids"]]
    assert len(asked) == len(set(asked))


def test_two_cycles_that_exchanged_their_networks(finished, go_on):
    whole = bytes_of(finished)
    (finished / "cycles/000/train").rename(finished / "aside")
    (finished / "cycles/001/train").rename(finished / "cycles/000/train")
    (finished / "aside").rename(finished / "cycles/001/train")
    warnings = go_on(finished).warnings
    assert len([warning for warning in warnings if "does not belong there (it is of cycle " in warning]) == 2
    assert bytes_of(finished) == whole
    logged = [event["sha256"] for event in read_events(finished) if event.get("stage") == "train"]
    assert [read_manifest(finished / f"cycles/00{c}/train").files[WEIGHTS] for c in range(3)] == logged


def test_a_stage_of_another_run_is_done_again(finished, start, go_on):
    other = start("other", seed=1, **PLAIN)
    go_on(other)
    whole = bytes_of(finished)
    replace(finished, other / "cycles/001/train", "cycles/001/train")
    said = " ".join(go_on(finished).warnings)
    assert f"(it is of run {read_events(other)[0]['run_id']}, not {read_events(finished)[0]['run_id']})" in said
    assert bytes_of(finished) == whole


def test_a_network_of_other_labels_is_trained_again(finished, go_on, tmp_path):
    """A copy of the run went another way: a person answered otherwise."""
    other = tmp_path / "other"
    shutil.copytree(finished, other)
    kill_before(other, lambda event: event["event"] == "label" and event["cycle"] == 0)

    class Other:
        def ask(self, question):
            yield [Answer(item.sample, 0, "another") for item in question.items]

    go_on(other, Other())
    kill_before(other, done("train", 1))
    replace(other, finished / "cycles/001/train", "cycles/001/train")
    warnings = go_on(other, Other()).warnings
    assert [w for w in warnings if "cycles/001/train does not belong there (it was made from another labelled)" in w]
    event = next(e for e in read_events(other) if done("train", 1)(e))
    assert read_manifest(other / "cycles/001/train").files[WEIGHTS] == event["sha256"]


@pytest.mark.parametrize("cut", [None, ("train", 1), ("score", 0)])
def test_a_run_of_a_version_that_bound_nothing_goes_on(finished, go_on, cut):
    of_another_version(finished)
    if cut:
        kill_before(finished, done(*cut))
    before = bytes_of(finished)
    recorder = go_on(finished)
    assert (cut is None) == (recorder.stages == [])
    assert cut is None or cut[::-1] not in recorder.stages
    assert not [warning for warning in recorder.warnings if "set aside" in warning]
    assert bytes_of(finished).startswith(before)
    assert len(recorder.rows) == 3


def test_such_a_runs_exchanged_networks_are_told_by_what_was_logged(finished, go_on):
    of_another_version(finished)
    logged = [event["sha256"] for event in read_events(finished) if event.get("stage") == "train"]
    replace(finished, "cycles/001/train", "cycles/000/train")
    warnings = go_on(finished).warnings
    assert [w for w in warnings if "its weights.safetensors is not the one that the log says" in w]
    assert read_manifest(finished / "cycles/000/train").files[WEIGHTS] == logged[0]


def test_a_manifest_that_says_nothing_of_its_place_does_not_pass_in_a_run_that_binds(finished, go_on):
    whole = bytes_of(finished)
    manifest = finished / "cycles/001/score/manifest.json"
    content = json.loads(manifest.read_text())
    del content["binding"]
    manifest.write_text(json.dumps(content))
    kill_before(finished, done("score", 1))
    assert [w for w in go_on(finished).warnings if "does not say of which run and cycle it is" in w]
    assert bytes_of(finished) == whole


class Toy:
    """A run directory with stages of a few bytes."""

    facts = {"dataset_sha256": "d" * 64, "versions": {}}  # noqa: RUF012 — never changed

    def __init__(self, path, facts=None):
        self.path, self.warnings = path, []
        self.facts = facts or self.facts

    def __call__(self, content, cycle=0, **made_from):
        """Ensure a stage with that content; returns what its file holds then."""

        def build(into):
            (into / "a.bin").write_text(content)

        with RunDirectory(self.path, self.warnings.append) as run:
            run.start(self.facts)
            if not run.has("label"):
                run.append("query", cycle=-1, ids=[0], scores=[0.0])
                run.append("label", cycle=-1, labels=[[0, 0]])
            run.ensure_stage(cycle, "train", "a.bin", made_from, build)
            return (run.stage_path(cycle, "train") / "a.bin").read_text()


def test_a_stage_that_comes_out_otherwise_is_warned_of_logged_and_then_stands(start):
    toy = Toy(start())
    assert toy("here", labelled="1") == "here"
    (toy.path / "cycles/000/train/a.bin").write_text("damaged")
    assert toy("elsewhere", labelled="1") == "elsewhere"
    assert [warning.partition("train")[2].split(":")[0] for warning in toy.warnings] == [
        " is damaged", "/a.bin differs from what the run first computed; is this another machine?",
    ]  # fmt: skip
    toy.warnings.clear()
    assert toy("never built", labelled="1") == "elsewhere"
    assert toy("never built", labelled="2") == "elsewhere"  # it was logged: what comes later does not change it
    assert toy.warnings == []
    assert [event["event"] for event in read_events(toy.path)][3:] == ["stage_done", "stage_done"]


def test_a_stage_that_was_not_logged_is_made_from_what_there_is_now(start):
    toy = Toy(start())
    toy("first", labelled="1", previous="a")
    kill_before(toy.path, lambda event: event["event"] == "stage_done")
    assert toy("never built", labelled="1", previous="a") == "first"
    kill_before(toy.path, lambda event: event["event"] == "stage_done")
    assert toy("second", labelled="1", previous="b") == "second"
    assert "(it was made from another previous): set aside" in toy.warnings[0]


def test_what_binds_a_stage_is_in_its_manifest_and_in_the_log(finished):
    manifests = [read_manifest(finished / f"cycles/00{c}" / s) for c, s in ((0, "train"), (0, "score"), (1, "train"))]
    bindings = [manifest.binding for manifest in manifests]
    assert [sorted(binding.made_from) for binding in bindings] == [
        ["labelled"], ["labelled", "train"], ["labelled", "previous"],
    ]  # fmt: skip
    assert bindings[1].made_from["train"] == bindings[2].made_from["previous"] == manifests[0].files[WEIGHTS]
    run = read_events(finished)[0]["run_id"]
    assert [(b.run, b.cycle, b.stage) for b in bindings] == [(run, 0, "train"), (run, 0, "score"), (run, 1, "train")]
    logged = [event["binding"] for event in read_events(finished) if event["event"] == "stage_done"]
    assert logged[:3] == [binding.digest() for binding in bindings]


@pytest.mark.parametrize("plain", [{}, [], "x", {"run": 1, "cycle": 0, "stage": "", "made_from": {}}, {"more": 1}])
def test_a_manifest_with_a_strange_binding_is_damaged(finished, plain):
    manifest = finished / "cycles/000/train/manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"binding": plain}))
    assert read_manifest(finished / "cycles/000/train") is None


def test_ids_and_labels_are_told_apart():
    import numpy as np

    from pipeline.run.pool import Labelled

    sets = [([1, 2], [3, 4]), ([1, 3], [2, 4]), ([2, 1], [4, 3]), ([1], [3]), ([], [])]
    digests = {labelled_sha256(Labelled(np.array(i, np.int64), np.array(y, np.int64))) for i, y in sets}
    assert len(digests) == len(sets)
    assert Binding("r", 1, "s", {"a": "1", "b": "2"}).digest() == Binding("r", 1, "s", {"b": "2", "a": "1"}).digest()


def test_a_stage_alone_does_not_read_what_the_log_does_not_say(finished, tmp_path):
    events = read_events(finished)
    assert logged_stage(finished, events, 0, "train", WEIGHTS)
    replace(finished, "cycles/001/train", "cycles/000/train")
    assert logged_stage(finished, events, 0, "train", WEIGHTS) is None
    (tmp_path / "into").mkdir()
    with pytest.raises(
        PipelineError, match=r"reads .*cycles/000/train, which is missing or damaged, or not what the run"
    ):
        rerun(finished, "score", 0, tmp_path / "into")
    said = CliRunner().invoke(cli, ["fidelity", str(finished), "--cycle", "0", "--candidates", "5"])
    assert said.exit_code == 2
    assert "has not been trained, or is damaged" in said.stderr


def test_a_pipe_in_the_place_of_a_stages_file_is_not_waited_for(finished, waiting_fails):
    for name in (WEIGHTS, "manifest.json"):
        (finished / "cycles/000/train" / name).unlink()
        os.mkfifo(finished / "cycles/000/train" / name)
        assert read_manifest(finished / "cycles/000/train") is None


# --- the log


def resume(path):
    return CliRunner().invoke(cli, ["resume", str(path)])


@pytest.mark.parametrize("damage", ["nuls", "emptied", "missing", "no newline"])
def test_a_lost_log_is_not_begun_again(finished, damage):
    log = finished / "events.jsonl"
    content = {"nuls": bytes(log.stat().st_size), "emptied": b"", "missing": None, "no newline": b'{"seq":0'}[damage]
    log.unlink()
    if content is not None:
        log.write_bytes(content)
    for _ in range(2):
        result = resume(finished)
        assert result.exit_code == 2, result.output
        assert result.stderr.count("\n") == 1
        assert "restore it from a copy" in result.stderr
        assert (log.read_bytes() if log.exists() else None) == content
    with pytest.raises(PipelineError, match="restore it from a copy"), RunDirectory(finished, print):
        pass
    assert sorted(path.name for path in finished.glob("cycles/*")) == ["000", "001", "002"]


@pytest.mark.parametrize("content", [None, b"", b'{"seq":0', bytes(100)])
def test_a_run_that_was_killed_before_its_first_event_goes_on(start, go_on, content):
    path = start(**PLAIN, cycles=1)
    if content is not None:
        (path / "events.jsonl").write_bytes(content)
    assert resume(path).exit_code == 0
    assert len(read_events(path)) == 7


def line_of(path, number):
    return (path / "events.jsonl").read_bytes().split(b"\n")[number]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda line: line + b"\r", "it ends in CR LF"),
        (lambda line: line.replace(b'"labels":', b'"labels":[[1,7]],"labels":', 1), "or a key stands twice"),
        (lambda line: line.replace(b'"event":"label"', b'"event":"query","event":"label"', 1), "or a key stands twice"),
        (lambda line: line[:-1] + b',"hash":' + line[-67:], "or a key stands twice"),
        (lambda line: line.replace(b":", b": ", 1), "not written as it was"),
        (lambda line: b" " + line, "not written as it was"),
        (lambda line: b"\xef\xbb\xbf" + line, "not written as it was"),
        (lambda line: line.decode().encode("utf-16"), "damaged"),
        (lambda line: b"[" * 100_000, "expected the event with number 2"),
        (lambda line: b"3", "expected the event with number 2"),
        (lambda line: b"", "expected the event with number 2"),
    ],
)
def test_a_line_is_what_was_written_byte_for_byte(finished, change, reason):
    lines = (finished / "events.jsonl").read_bytes().split(b"\n")
    changed = change(lines[2])
    assert changed != lines[2]
    lines[2] = changed
    (finished / "events.jsonl").write_bytes(b"\n".join(lines))
    result = resume(finished)
    assert result.exit_code == 2
    assert f"{finished / 'events.jsonl'}: line 3 is damaged (" in result.stderr
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_log_with_crlf_is_refused_at_its_first_line(finished):
    (finished / "events.jsonl").write_bytes(bytes_of(finished).replace(b"\n", b"\r\n"))
    assert "line 1 is damaged (it ends in CR LF, not in LF)" in resume(finished).stderr


@pytest.mark.parametrize(("kind", "fields"), [("finished", {}), ("start", {"run_id": 3}), ("start", {})])
def test_a_log_that_does_not_begin_with_a_beginning_is_refused(finished, kind, fields):
    (finished / "events.jsonl").unlink()
    log = EventLog(finished / "events.jsonl")
    log.append(kind, **fields)
    log.close()
    for command in (["resume"], ["stage", "train", "--cycle", "0"]):
        result = CliRunner().invoke(cli, [*command, str(finished)])
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
        assert "line 1 does not say how the run began: restore the file from a copy" in result.stderr


@pytest.mark.parametrize("kind", ["loop", "dangling", "file"])
def test_what_stands_in_the_place_of_a_stage_is_set_aside(finished, go_on, kind):
    whole, stage = bytes_of(finished), finished / "cycles/001/train"
    shutil.rmtree(stage)
    if kind == "file":
        stage.write_text("x")
    else:
        stage.symlink_to(stage.name if kind == "loop" else "nowhere")
    assert [w for w in go_on(finished).warnings if "cycles/001/train is damaged: set aside as " in w]
    assert bytes_of(finished) == whole


@pytest.fixture
def waiting_fails():
    """End a test that waits for a pipe to be written to."""

    def ring(*_):
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def put(path, kind):
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path.name if kind == "loop" else "nowhere")


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "dangling"])
@pytest.mark.parametrize("file", ["events.jsonl", "config.yaml"])
def test_what_is_no_file_is_named_and_not_waited_for(finished, file, kind, waiting_fails):
    put(finished / file, kind)
    said = set()
    for command in (["resume"], ["stage", "train", "--cycle", "0"], ["fidelity", "--cycle", "0"]):
        result = CliRunner().invoke(cli, [*command, str(finished)])
        assert result.exit_code == 2, result.output
        said.add(result.stderr)
    [line] = said
    assert line.startswith(f"error: {finished / file}: expected a file, but it is a ")
    assert line.count("\n") == 1


# --- the machine


def test_another_machine_or_other_threads_are_said_in_one_line(start):
    facts = Toy.facts | {"hardware": {"CPU": "abacus, 4 cores, 4 threads", "GPU": "none"}, "threads": 1}
    path = start()
    Toy(path, facts)("x")
    same = Toy(path, facts | {"hardware": {"CPU": "abacus, 4 cores, 1 threads", "GPU": "none"}})
    same("x")
    assert same.warnings == []
    other = Toy(path, facts | {"hardware": {"CPU": "abacus, 4 cores, 4 threads", "GPU": "one"}, "threads": 2})
    other("x")
    assert other.warnings == [
        "the run began on another machine or with other threads (GPU: 'none' -> 'one'; threads: 1 -> 2); "
        "results may differ"
    ]


def test_what_a_version_did_not_write_down_is_not_another_machine(start):
    path = start()
    Toy(path)("x")
    now = Toy(path, Toy.facts | {"hardware": {"CPU": "abacus"}, "threads": 1})
    now("x")
    assert now.warnings == []


def test_threads_that_the_configuration_asks_for_now_are_said(finished, go_on):
    config = (finished / "config.yaml").read_text()
    (finished / "config.yaml").write_text(config.replace("threads: null", "threads: 2"))
    assert read_config(finished).threads == 2
    assert [w for w in go_on(finished).warnings if "with other threads (threads: 1 -> 2)" in w]


# --- its cost


class Counted(list):
    """A list that counts how often an element of it is read."""

    def __init__(self, values):
        super().__init__(values)
        self.read = 0

    def __iter__(self):
        for value in super().__iter__():
            self.read += 1
            yield value

    def __reversed__(self):
        for value in super().__reversed__():
            self.read += 1
            yield value

    def __getitem__(self, at):
        found = super().__getitem__(at)
        self.read += len(found) if isinstance(at, slice) else 1
        return found

    def __contains__(self, value):
        self.read += len(self)
        return super().__contains__(value)


def test_a_question_costs_the_same_however_long_the_log_is(start):
    per_question = []
    with RunDirectory(start(), print) as run:
        run.start(Toy.facts)
        run.append("stage_done", cycle=0, stage="train", sha256="x")
        pool = run.pool(10_000)
        run.append("query", cycle=0, ids=[9_999], scores=[0.0])
        run.log.events = Counted(run.log.events)
        for sample in range(300):
            before = run.log.events.read
            run.append("query", cycle=0, ids=[sample], scores=[0.0])
            assert run.has("query", cycle=0)
            assert not run.has("query", cycle=1)
            assert not run.has("finished")
            assert run.result_of(0, "train") == "x"
            run.append("label", cycle=0, labels=[[sample, 1]])
            per_question.append(run.log.events.read - before)
    assert len(pool.queries[0]) == 301
    assert max(per_question) == min(per_question) <= 5  # the hash of the last line, and no more
