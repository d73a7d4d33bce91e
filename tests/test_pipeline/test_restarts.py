"""A run whose training fails at a learning rate: it goes on at a lower one, keeps that, and says so."""

import contextlib
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

from pipeline.cli import cli
from pipeline.config import load_config
from pipeline.errors import DivergedError, RunFailedError
from pipeline.run.context import open_context
from pipeline.run.pool import Labelled
from pipeline.run.rerun import rerun
from pipeline.run.rundir import read_events
from pipeline.run.stages import train
from pipeline.run.stages.train import options_of, read_summary, run_train
from trainer.restarts import LOWER, RESTARTS

TOO_HIGH = {"train__max_lr": 1e4, "query__strategy": "random"}
FAR_TOO_HIGH = {"train__max_lr": 1e12, "query__strategy": "random", "cycles": 2, "start": "cold"}


def stage(path, cycle):
    return path / f"cycles/{cycle:03d}/train"


def weights(path):
    return [event["sha256"] for event in read_events(path) if event["event"] == "stage_done"]


@pytest.mark.parametrize("start_from", ["warm", "cold"])
def test_later_cycles_begin_at_the_rate_that_worked(start, go_on, tmp_path, start_from):
    path = start(start=start_from, **TOO_HIGH)
    recorder = go_on(path)
    first, *others = [read_summary(stage(path, cycle)) for cycle in range(3)]
    rates = [restart["max_lr"] for restart in first["restarts"]]
    assert rates == [1e4 * LOWER**k for k in range(len(rates))]
    assert first["max_lr"] == 1e4 * LOWER ** len(rates)
    for before, after in zip([first, *others], others, strict=False):
        assert after["max_lr"] == before["max_lr"] * LOWER ** len(after["restarts"])
    said = [warning for warning in recorder.warnings if "the learning rate was too high" in warning]
    assert said[0].startswith("cycle 0: ")
    assert f"--set train.max_lr={first['max_lr']:.3g}" in said[0]
    assert len(said) == 1 + sum(bool(summary["restarts"]) for summary in others)
    assert [summary["limited"] for summary in (first, *others)] == [True, True, True]
    assert train.was_limited(stage(path, 2))
    for cycle in range(3):
        into = tmp_path / f"again{cycle}"
        into.mkdir()
        assert rerun(path, "train", cycle, into).same


def test_a_lost_stage_and_an_interruption_change_nothing(start, go_on, monkeypatch):
    path = start(**TOO_HIGH)
    go_on(path)
    whole = weights(path)
    shutil.rmtree(stage(path, 2))
    (stage(path, 1) / "summary.json").write_text("{")
    recorder = go_on(path)
    assert not any("differs" in warning for warning in recorder.warnings)
    assert [read_summary(stage(path, cycle))["max_lr"] for cycle in range(3)]

    class Killed(KeyboardInterrupt):
        pass

    def killed(*arguments, **options):
        if arguments[1] == 1:
            raise Killed
        return run_train(*arguments, **options)

    cut = start("cut", **TOO_HIGH)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.run.loop.run_train", killed)
        with pytest.raises(Killed):
            go_on(cut)
    go_on(cut)
    assert weights(cut) == whole


def test_a_run_that_needs_no_restart_says_nothing(start, go_on):
    path = start(query__strategy="random")
    recorder = go_on(path)
    assert not any("learning rate was" in warning for warning in recorder.warnings)
    assert {read_summary(stage(path, cycle))["max_lr"] for cycle in range(3)} == {0.8}
    assert not any(train.was_limited(stage(path, cycle)) for cycle in range(3))


def test_a_run_that_diverged_goes_on_at_lower_rates_when_it_is_resumed(start, go_on, tmp_path):
    path = start(**FAR_TOO_HIGH)
    lowest = 1e12 * LOWER**RESTARTS
    with pytest.raises(
        DivergedError, match=rf"pipeline fork .* --set train.max_lr={lowest * LOWER:.3g}".replace("+", ".")
    ):
        go_on(path)
    with contextlib.suppress(DivergedError):
        go_on(path)  # from 3.8e6 down to 58, which may do or not
        lowest /= LOWER ** (RESTARTS + 1)
    lowest *= LOWER ** (RESTARTS + 1)
    go_on(path)
    events = read_events(path)
    assert [event["max_lr"] for event in events if event["event"] == "failed"][-1] == lowest
    assert events[-1]["event"] == "finished"
    assert read_summary(stage(path, 0))["max_lr"] < lowest
    (tmp_path / "again").mkdir()
    assert rerun(path, "train", 0, tmp_path / "again").same


def test_the_option_that_is_named_is_there():
    text = CliRunner().invoke(cli, ["run", "--help"]).output
    assert "--set A.B=C" in text
    assert load_config(sets=["train.max_lr=0.25"]).train_options.max_lr == 0.25


@pytest.mark.parametrize("start_from", ["warm", "cold"])
def test_after_a_network_that_learned_nothing_training_starts_anew(start, tmp_path, start_from):
    config = load_config(options={"model.name": "mlp", "device": "cpu", "start": start_from, "train.epochs": 60})
    context = open_context(config)
    labelled = Labelled(np.arange(20), context.data.labels("train", np.arange(20)))
    before, anew, after = (tmp_path / name for name in ("before", "anew", "after"))
    for folder in (before, anew, after):
        folder.mkdir()
    run_train(context, 0, labelled, None, before)
    summary = read_summary(before) | {"at_chance": True, "max_lr": 1e-5}
    (before / "summary.json").write_text(json.dumps(summary))
    run_train(context, 1, labelled, before, after)
    assert read_summary(after)["max_lr"] == 0.8
    run_train(context, 1, labelled, None, anew)
    one, other = load_file(after / "weights.safetensors"), load_file(anew / "weights.safetensors")
    assert all((one[name] == other[name]).all() for name in one)


def test_stages_of_older_versions_say_nothing_of_rates(start, go_on):
    path = start(query__strategy="random", cycles=2)
    go_on(path)
    summary = read_summary(stage(path, 0))
    for name in ("max_lr", "limited", "restarts", "at_chance"):
        summary.pop(name)
    (stage(path, 0) / "summary.json").write_text(json.dumps(summary))
    context = open_context(load_config(path / "config.yaml"))
    assert options_of(context, stage(path, 0)) == context.config.train_options
    assert not train.was_limited(stage(path, 0))
    assert train.training_cautions(stage(path, 0)) == []


def test_the_same_failure_is_logged_once(start, go_on, monkeypatch):
    def broken(*_, **__):
        raise RunFailedError("cycle 0: it broke")

    monkeypatch.setattr("pipeline.run.loop.run_train", broken)
    path = start()
    for _ in range(2):
        with pytest.raises(RunFailedError):
            go_on(path)
    assert [event["event"] for event in read_events(path)].count("failed") == 1
