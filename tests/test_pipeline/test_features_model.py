"""Features of one's own are learned from by ``linear``, where no network is named, in every command."""

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.config import load_config
from pipeline.run.rundir import read_config
from pipeline.run.stages.train import read_summary
from trainer.cli import cli as trainer
from trainer.data import holds_features


@pytest.fixture
def features(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    np.savez(tmp_path / "features.npz", X=rng.normal(size=(80, 6)) + 3 * y[:, None], y=y)
    np.savez(tmp_path / "images.npz", X=rng.integers(0, 256, (80, 6, 6)), y=y)
    return tmp_path


def named(name, **more):
    return load_config(options={"data.name": name, **more}).model.name


def test_the_network_is_what_the_data_wants(features):
    assert named(f"npz:{features / 'features.npz'}") == "linear"
    assert named(f"npz:{features / 'features.npz'}", **{"model.name": "mlp"}) == "mlp"
    assert named(f"npz:{features / 'images.npz'}") == "cnn"
    assert named("digits") == "cnn"


@pytest.mark.parametrize("name", ["npz:nowhere.npz", "npz:~nobody-at-all/x.npz", "npz:", "folder:x", None, 3])
def test_what_cannot_be_read_is_nothing_to_choose_by(name):
    assert not holds_features(name)


def test_commands_choose_it(features, monkeypatch):
    monkeypatch.chdir(features)
    tiny = ["--n-init", "6", "--query-size", "2", "--cycles", "2", "--epochs", "60", "--device", "cpu"]
    ran = CliRunner().invoke(
        cli, ["run", "--dataset", "npz:features.npz", *tiny, "--subset-size", "20", "--out", "run"]
    )
    assert ran.exit_code == 0, ran.output
    assert read_config(features / "run").model.name == "linear"
    assert read_config(features / "run").train.max_lr is None  # the number of classes decides
    rates = [read_summary(features / f"run/cycles/{cycle:03d}/train")["max_lr"] for cycle in (0, 1)]
    assert rates == [2.0, 2.0]
    fitted = CliRunner().invoke(
        trainer, ["fit", "--dataset", "npz:features.npz", "--n-labelled", "8", "--epochs", "3", "--out", "fit"]
    )
    assert fitted.exit_code == 0, fitted.output
    assert '"name": "linear"' in (features / "fit" / "model.json").read_text()
