"""Runs start from what `trainer pretrain` learned: from its weights, and from its features as a data set."""

import pytest
from click.testing import CliRunner

import benchmark_scripts
from benchmark_scripts import invoke
from pipeline.cli import cli
from trainer.cli import cli as trainer

pytestmark = pytest.mark.long


@pytest.fixture
def pretrain(monkeypatch):
    return benchmark_scripts.benchmark(monkeypatch, "pretrain")


def test_runs_start_from_what_it_learned(pretrain, tmp_path):
    folder, features = tmp_path / "pretrained", tmp_path / "features.npz"
    network = ("--model", "cnn", "--option", "width=4")
    invoke(trainer, "pretrain", "--dataset", "digits", *network, "--epochs", 1, "--out", folder)
    invoke(pretrain.main, "--pretrained", folder, "--dataset", "digits", "--out", features)
    run = ("--strategy", "random", "--cycles", 2, "--epochs", 2)
    weights = ("--init-weights", folder / "weights.safetensors", "--set", "model.init_skip=7")
    options = ("--model", "cnn", "--set", "model.options.width=4", *weights)
    invoke(cli, "run", *options, *run, "--out", tmp_path / "tuned")
    invoke(cli, "run", "--dataset", f"npz:{features}", "--model", "mlp", *run, "--out", tmp_path / "frozen")


def test_mistakes_are_found_before_anything_is_computed(pretrain, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pretrain, "load", None)
    found = CliRunner().invoke(pretrain.main, ["--pretrained", "there", "--dataset", "digits", "--out", "missing/x"])
    assert found.exit_code == 2
    assert "make missing first" in found.output


def test_methods_are_compared_and_gone_on_with(monkeypatch, tmp_path):
    script = benchmark_scripts.benchmark(monkeypatch, "pretraining_methods")
    small = ("--dataset", "digits", "--options", '{"width": 2}', "--train", 200, "--labels", 50, "--batch-size", 64)
    monkeypatch.setattr(script, "TESTS", 100)
    out = tmp_path / "methods.jsonl"
    invoke(script.main, *small, "--methods", "untrained,vicreg", "--seconds", 0.05, "--seeds", "0", "--out", out)
    monkeypatch.setattr(script, "cell", None)
    invoke(script.main, *small, "--methods", "untrained,vicreg", "--seconds", 0.05, "--seeds", "0", "--out", out)
    assert "digits vicreg:" in invoke(script.main, "--table", out)
    assert len(out.read_text().splitlines()) == 2
