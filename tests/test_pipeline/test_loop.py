"""The whole loop on real images: what it writes, that it is deterministic, and that no crash loses or repeats."""

import csv
import json
import os
import shutil
import signal
from itertools import zip_longest

import numpy as np
import pytest
import torch
from marks import some_long

from pipeline import seeds
from pipeline.config import load_config
from pipeline.errors import PipelineError, RunFailedError
from pipeline.run import loop as loop_module
from pipeline.run import rounds as rounds_module
from pipeline.run.events import EventLog
from pipeline.run.rundir import RunDirectory, create_run, read_config, read_events
from pipeline.run.stages import store, train
from pipeline.run.stages.score import read_scores
from pipeline.run.summary import area_under_curve, read_rows
from pipeline.run.threads import recorded_threads
from trainer.data import load
from trainer.errors import TrainerError
from trainer.predict import predict
from trainer.threads import with_threads


def values(path):
    """metrics.csv without its times."""
    with (path / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if not k.endswith("_s")} for row in csv.DictReader(file)]


def outcome(path):
    """Everything about a run that must not depend on interruptions."""
    return (path / "events.jsonl").read_bytes(), values(path) if (path / "metrics.csv").exists() else None


def unlike(one, other):
    """The events of two runs that differ, so that a failure says in what."""
    mine, theirs = (read_events(path) for path in (one, other))
    return [pair for pair in zip_longest(mine, theirs) if pair[0] != pair[1]]


def test_a_run_writes_what_the_design_says(start, go_on):
    path = start()
    recorder = go_on(path)
    kinds = [event["event"] for event in read_events(path)]
    stages = ["stage_done"] * 3
    cycle = [*stages, "query", "label", "round_closed", "cycle_done"]
    assert kinds == ["start", "query", "label", "round_closed", *cycle, *cycle, "stage_done", "cycle_done", "finished"]
    assert [row.n_labelled for row in recorder.rows] == [12, 16, 20]
    assert all(0 <= row.test_accuracy <= 1 for row in recorder.rows)
    assert {"train", "migrate", "score"} == set(recorder.rows[0].seconds)
    for name in ("config.yaml", "metrics.csv", "report/learning_curve.png", "cycles/000/query.jsonl"):
        assert (path / name).stat().st_size > 0
    asked = [json.loads(line) for line in (path / "cycles/001/query.jsonl").read_text().splitlines()]
    answered = [json.loads(line) for line in (path / "cycles/001/labels.jsonl").read_text().splitlines()]
    data = load("digits")
    assert [row["rank"] for row in asked] == [1, 2, 3, 4]
    assert [row["sample_id"] for row in asked] == [row["sample_id"] for row in answered]
    truth = data.labels("train", np.array([row["sample_id"] for row in answered]))
    assert [row["label"] for row in answered] == [data.classes[label] for label in truth]
    scores = read_scores(path / "cycles/001/score")
    assert scores.select(4).indices.tolist() == [row["sample_id"] for row in asked]
    assert len(scores.candidates) == len(scores.scores) == len(scores.pseudo_labels) == 30
    assert read_rows(path)[-1].test_accuracy == recorder.rows[-1].test_accuracy
    assert 0 <= area_under_curve(recorder.rows) <= 1
    assert not list(path.rglob("*.tmp-*"))


def test_no_sample_is_asked_twice(start, go_on):
    path = start(query__strategy="margin", cycles=4)
    go_on(path)
    asked = [sample for event in read_events(path) if event["event"] == "query" for sample in event["ids"]]
    assert len(asked) == len(set(asked)) == 24


@pytest.mark.parametrize("strategy", ["mlmoc-flips", "random"])
def test_the_same_seed_gives_the_same_run_and_another_seed_another(start, go_on, strategy):
    paths = [start(name, query__strategy=strategy, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    for path in paths:
        go_on(path)
    first, second, other = (outcome(path) for path in paths)
    assert first == second
    assert [e.get("ids") for e in read_events(paths[0])] != [e.get("ids") for e in read_events(paths[2])]
    assert first != other


def test_strategies_share_initial_set_weights_and_candidates(start, go_on):
    runs = {}
    for strategy in ("random", "margin", "mlmoc"):
        runs[strategy] = start(strategy, query__strategy=strategy, cycles=2)
        go_on(runs[strategy])
    initial = {str(read_events(path)[1]["ids"]) for path in runs.values()}
    weights = {read_events(path)[4]["sha256"] for path in runs.values()}
    candidates = {str(read_scores(path / "cycles/000/score").candidates) for path in runs.values()}
    assert len(initial) == len(weights) == len(candidates) == 1


class Killed(BaseException):
    """Stands for SIGKILL at a place of our choice: nothing above it handles it."""


def crash_points(monkeypatch, at):
    """Die at the ``at``-th event or stage: before it, torn in the middle of it, or after it."""
    count = 0
    append, write_stage = EventLog.append, store.write_stage

    def crashing_append(self, event, **fields):
        nonlocal count
        count += 1
        if count == at:
            with self.path.open("ab") as file:
                file.write(b'{"seq":99,"event":"torn')
            raise Killed
        result = append(self, event, **fields)
        count += 1
        if count == at:
            raise Killed
        return result

    def crashing_stage(directory, build, binding):
        nonlocal count
        count += 1
        if count == at:
            half = directory.with_name(directory.name + ".tmp-dead")
            half.mkdir(parents=True)
            (half / "weights.safetensors").write_text("half")
            raise Killed
        result = write_stage(directory, build, binding)
        count += 1
        if count == at:
            raise Killed
        return result

    def crashing(function):
        def call(*arguments, **options):
            nonlocal count
            count += 1
            if count == at:
                raise Killed
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(EventLog, "append", crashing_append)
    monkeypatch.setattr(loop_module, "write_report", crashing(loop_module.write_report))
    monkeypatch.setattr(rounds_module, "write_json_lines", crashing(rounds_module.write_json_lines))
    monkeypatch.setattr("pipeline.run.rundir.write_stage", crashing_stage)


def test_a_crash_at_any_step_changes_nothing(start, go_on, monkeypatch):
    whole = start("whole", query__strategy="margin", cycles=2)
    go_on(whole)
    at, crashed = 0, True
    while crashed:
        at += 1
        path = start(f"crash{at}", query__strategy="margin", cycles=2)
        with monkeypatch.context() as patch:
            crash_points(patch, at)
            try:
                go_on(path)
                crashed = False
            except Killed:
                go = go_on
        if crashed:
            go(path)
        assert outcome(path) == outcome(whole), f"crash point {at}"
        assert not list(path.rglob("*.tmp-*"))
    assert at > 20  # every append and every stage, before and after


@pytest.mark.parametrize(
    "moment",
    ["cycles/000/score.tmp-*", *some_long("events.jsonl", "cycles/000/migrate.tmp-*", "cycles/001/train.tmp-*")],
)
def test_sigkill_of_the_real_command_then_resume(start, go_on, spawn, wait_for, moment):
    """The look-ahead run with port and kernel, killed by the real signal in the middle of a stage."""
    slowly = {"train__epochs": 600, "train__tolerance": 0.0}  # so that every stage lasts long enough to be seen
    whole, path = start("whole", **slowly), start("killed", **slowly)
    go_on(whole)
    process = spawn("resume", path)
    wait_for(process, lambda: list(path.glob(moment)))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert outcome(path)[0] != outcome(whole)[0]
    go_on(path)
    assert unlike(path, whole) == []
    assert outcome(path) == outcome(whole)


def test_a_damaged_stage_is_set_aside_and_redone(start, go_on):
    path = start()
    go_on(path)
    before = outcome(path)
    for damaged in ("cycles/000/train/weights.safetensors", "cycles/001/score/scores.npz"):
        content = bytearray((path / damaged).read_bytes())
        content[len(content) // 2] ^= 1
        (path / damaged).write_bytes(bytes(content))
    recorder = go_on(path)
    assert outcome(path) == before
    assert len([w for w in recorder.warnings if "damaged: set aside" in w]) == 2
    assert len(list(path.rglob("*.damaged-*"))) == 2


@pytest.mark.parametrize("stage", ["train", "score"])
@pytest.mark.parametrize("damage", ["truncate", "delete", "unlisted"])
def test_the_last_cycles_damage_is_repaired_too(start, go_on, stage, damage):
    path = start(query__strategy="margin")
    go_on(path)
    before = outcome(path)
    directory = path / "cycles/001" / stage
    if damage == "delete":
        shutil.rmtree(directory)
    elif damage == "truncate":
        for file in directory.iterdir():
            file.write_bytes(file.read_bytes()[:-3])
    else:
        store.seal(directory, 0.0)
        manifest = json.loads((directory / "manifest.json").read_text())
        manifest["files"] = {}
        (directory / "manifest.json").write_text(json.dumps(manifest))
    go_on(path)
    assert outcome(path) == before


def test_a_kill_between_setting_aside_and_redoing(start, go_on, monkeypatch):
    path = start(query__strategy="margin")
    go_on(path)
    before = outcome(path)
    (path / "cycles/001/train/summary.json").write_text("{")
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.run.rundir.write_stage", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            go_on(path)
    assert not (path / "cycles/001/train").exists()
    go_on(path)
    assert outcome(path) == before


def test_two_commands_that_choose_the_same_name(start, tmp_path):
    path = start("taken")
    with pytest.raises(PipelineError, match="expected a new or empty directory"):
        create_run(path, load_config())
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / ".config.yaml.tmp-12").write_text("killed here")
    create_run(tmp_path / "half", load_config())
    assert sorted(p.name for p in (tmp_path / "half").iterdir()) == ["config.yaml", "lock"]


def test_a_finished_run_is_left_as_it_is(start, go_on):
    path = start(query__strategy="random")
    go_on(path)
    before = outcome(path)
    assert go_on(path).stages == []
    assert outcome(path) == before


def test_a_diverging_network_stops_the_run_and_is_never_queried_from(start, go_on):
    path = start(train__max_lr=1e12)
    with pytest.raises(RunFailedError, match="cycle 0: .*diverged"):
        go_on(path)
    kinds = [event["event"] for event in read_events(path)]
    assert kinds == ["start", "query", "label", "round_closed", "failed"]
    assert not (path / "cycles/000/train").exists()


def test_a_port_that_differs_stops_the_run(start, go_on, monkeypatch):
    from migrator import MigratorError
    from pipeline.run.stages import migrate

    def mismatch(*_):
        raise MigratorError("outputs differ by 0.3")

    monkeypatch.setattr(migrate, "verify", mismatch)
    path = start()
    with pytest.raises(RunFailedError, match="the port to Flax failed: outputs differ by 0.3"):
        go_on(path)
    assert [event["event"] for event in read_events(path)][-1] == "failed"
    assert not (path / "cycles/000/migrate").exists()


def test_two_writers(start):
    path = start()
    with RunDirectory(path, print), pytest.raises(PipelineError, match=rf"in use by process {os.getpid()}"):
        RunDirectory(path, print)
    RunDirectory(path, print).__exit__()


def test_changed_science_is_refused_on_resume_and_named(start, go_on):
    path = start(query__strategy="random", cycles=1)
    go_on(path)
    text = (path / "config.yaml").read_text()
    (path / "config.yaml").write_text(text.replace("momentum: 0.9", "momentum: 0.8"))
    with pytest.raises(PipelineError, match=r"train.momentum: 0.9 -> 0.8"):
        go_on(path)
    (path / "config.yaml").write_text(text.replace("device: cpu", "device: auto"))
    go_on(path)


def test_a_changed_data_set_is_refused_on_resume(start, go_on, monkeypatch):
    path = start(query__strategy="random", cycles=1)
    go_on(path)
    monkeypatch.setattr("trainer.data.DataSet.fingerprint", lambda self: "0" * 64)
    with pytest.raises(PipelineError, match="not the one that the run began with"):
        go_on(path)


def test_the_pool_may_run_out(start, go_on):
    """1,297 digits: the last query takes what is left, exactly."""
    path = start(query__strategy="random", query__n_init=1200, query__size=97, query__subset=1000, cycles=2)
    recorder = go_on(path)
    assert recorder.rows[-1].n_labelled == 1297


def test_a_one_class_initial_set_runs(start, go_on, monkeypatch):
    labels = load("digits").labels("train")
    zeros = np.flatnonzero(labels == 0)[:12]

    class OneClass:
        def choice(self, *_, **__):
            return zeros

    real = seeds.generator
    monkeypatch.setattr(seeds, "generator", lambda s, c, name: OneClass() if name == "initial" else real(s, c, name))
    recorder = go_on(start(cycles=2))
    assert len(recorder.rows) == 2


def test_cold_start_trains_from_the_initial_weights(start, go_on):
    warm, cold = start("warm", query__strategy="random"), start("cold", query__strategy="random", start="cold")
    go_on(warm)
    go_on(cold)
    first = [read_events(path)[4]["sha256"] for path in (warm, cold)]
    last = [[e for e in read_events(path) if e["event"] == "stage_done"][-1]["sha256"] for path in (warm, cold)]
    assert first[0] == first[1]
    assert last[0] != last[1]


def test_unconverged_training_is_warned_about(start, go_on):
    recorder = go_on(start(query__strategy="random", cycles=1, train__epochs=1))
    assert "try more --epochs or " in recorder.warnings[0]


def test_more_labels_than_there_are_is_refused_before_anything_is_written(tmp_path):
    from pipeline.run.context import open_context

    with pytest.raises(PipelineError, match="take 1540 samples, but digits has 1297"):
        open_context(load_config(sets=["query.n_init=1500", "query.size=20", "cycles=3", "query.subset=20"]))


def test_a_singular_kernel_is_repaired_and_said(start, go_on):
    """More labels than parameters: the kernel has no full rank."""
    path = start(model__options={"width": 4, "depth": 1}, query__n_init=400, cycles=2, train__epochs=2)
    recorder = go_on(path)
    assert any("took a jitter" in warning for warning in recorder.warnings)
    diagnostics = json.loads((path / "cycles/000/score/diagnostics.json").read_text())
    assert diagnostics["jitter"] > 0


def test_threads_are_chosen_once_recorded_and_kept(start, go_on, monkeypatch):
    seen = []
    monkeypatch.setattr("pipeline.run.threads.choose_threads", lambda *_: 2)
    real = train.fit

    def crash_in_cycle_1(*arguments, **options):
        seen.append(torch.get_num_threads())
        if len(seen) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(train, "fit", crash_in_cycle_1)
    path, before = start(cycles=2, query__strategy="random"), torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        go_on(path)
    monkeypatch.setattr("pipeline.run.threads.choose_threads", lambda *_: 1)
    go_on(path)
    assert (seen, read_events(path)[0]["threads"], torch.get_num_threads()) == ([2, 2, 2], 2, before)


def test_a_configuration_may_say_how_many_threads(start, go_on, monkeypatch):
    seen = set()
    monkeypatch.setattr(train, "predict", lambda *a, **k: seen.add(torch.get_num_threads()) or predict(*a, **k))
    path = start(cycles=1, query__strategy="random", threads=3)
    go_on(path)
    assert (seen, read_events(path)[0]["threads"]) == ({3}, 3)


def test_a_run_of_an_older_version_goes_on_with_torchs_own_threads(start, go_on):
    path = start(cycles=1, query__strategy="random")
    go_on(path)
    first = {name: value for name, value in read_events(path)[0].items() if name != "threads"}
    with with_threads(torch.get_num_threads() + 2):
        assert recorded_threads(read_config(path), [first]) == torch.get_num_threads()


def test_a_run_that_fails_draws_what_it_had_finished(start, go_on, monkeypatch):
    monkeypatch.setattr(train, "fit", fails_in(train.fit, cycle=2))
    path = start(cycles=3, query__strategy="random")
    with pytest.raises(RunFailedError):
        go_on(path)
    assert (path / "report" / "learning_curve.png").exists()
    assert len(read_rows(path)) == 2


def fails_in(fit, cycle):
    """Training that fails in a cycle."""
    fitted = []

    def call(*arguments, **options):
        fitted.append(1)
        if len(fitted) > cycle:
            raise TrainerError("the disk of dreams is full")
        return fit(*arguments, **options)

    return call
