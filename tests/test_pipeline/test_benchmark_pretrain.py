"""`benchmarks/pretrain.py` learns features without labels, and runs start from them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

import benchmark_scripts
from benchmark_scripts import invoke
from pipeline.cli import cli
from trainer.data import load

pytestmark = pytest.mark.long


@pytest.fixture
def pretrain(monkeypatch):
    return benchmark_scripts.benchmark(monkeypatch, "pretrain")


def test_runs_start_from_what_it_learned(pretrain, tmp_path):
    weights, features = tmp_path / "pretrained.safetensors", tmp_path / "features.npz"
    network = ("--model", "cnn", "--option", "width=4")
    invoke(pretrain.main, "train", "--dataset", "digits", *network, "--epochs", 1, "--out", weights)
    state = load_file(weights)
    assert not any(state[name].any() for name in list(state)[-2:])  # the last layer
    invoke(pretrain.main, "features", "--dataset", "digits", *network, "--weights", weights, "--out", features)
    run = ("--strategy", "random", "--cycles", 2, "--epochs", 2)
    options = ("--model", "cnn", "--set", "model.options.width=4", "--init-weights", weights)
    invoke(cli, "run", *options, *run, "--out", tmp_path / "tuned")
    invoke(cli, "run", "--dataset", f"npz:{features}", "--model", "mlp", *run, "--out", tmp_path / "frozen")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(("--out", "missing/x"), "make missing first"), (("--out", "x", "--option", "width"), "expected KEY=VALUE")],
)
def test_mistakes_are_found_before_training(pretrain, monkeypatch, tmp_path, wrong, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pretrain, "pretrain", None)
    found = CliRunner().invoke(pretrain.main, ["train", "--dataset", "digits", *wrong])
    assert found.exit_code == 2
    assert said in found.output


def test_it_reads_no_label(pretrain):
    digits = load("digits")
    shuffled = replace(digits, train=replace(digits.train, labels=np.roll(digits.train.labels, 7)))
    weights = []
    for data in (digits, shuffled):
        torch.manual_seed(0)
        net = pretrain.built(data, "cnn", ("width=4",))
        pretrain.pretrain(net, data, epochs=1)
        weights.append(torch.cat([value.flatten() for value in net.state_dict().values()]))
    assert torch.equal(*weights)


def test_the_contrast_is_the_entropy_of_finding_the_other_crop(pretrain):
    torch.manual_seed(0)
    z = torch.randn(6, 4, dtype=torch.float64)
    unit, expected = z / z.norm(dim=1, keepdim=True), 0.0
    for i in range(6):
        others = torch.tensor([float(unit[i] @ unit[j]) / pretrain.TEMPERATURE for j in range(6) if j != i])
        expected += float(others.exp().sum().log() - unit[i] @ unit[(i + 3) % 6] / pretrain.TEMPERATURE) / 6
    assert float(pretrain.contrast(z)) == pytest.approx(expected, abs=1e-6)


def test_colours_stay_colours_and_crops_stay_images(pretrain):
    torch.manual_seed(0)
    for channels in (1, 3):
        x = torch.rand(16, channels, 8, 8)
        for change in (pretrain.crops, pretrain.recoloured):
            y = change(x)
            assert y.shape == x.shape
            assert 0 <= y.min() <= y.max() <= 1
            assert not torch.equal(x, y)
