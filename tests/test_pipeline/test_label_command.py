"""``pipeline label`` as a command: what it refuses, in one line and before anything is written, and what it begins."""

import numpy as np
import pytest
from click.testing import CliRunner
from folder_cases import put

from pipeline.cli import cli
from pipeline.commands import label as command


class Served(Exception):
    """Instead of the page."""

    def __init__(self, path, context, name):
        super().__init__(path)
        self.path, self.context, self.name = path, context, name


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    def served(path, context, name, *_):
        raise Served(path, context, name)

    monkeypatch.chdir(tmp_path)
    for number in range(6):
        put(tmp_path, f"photos/{number}.png", seed=number)
    monkeypatch.setattr(command, "_serve", served)
    runner = CliRunner()

    def call(*arguments):
        return runner.invoke(cli, ["label", *[str(argument) for argument in arguments]])

    return call


def test_code_that_a_file_names_runs_only_where_it_is_trusted(invoke, tmp_path):
    proof = tmp_path / "ran"
    code = f"model:\n  name: 'subprocess:getoutput'\n  options: {{cmd: 'touch {proof}'}}\n"
    (tmp_path / "theirs.yaml").write_text(code)
    result = invoke("photos", "--classes", "a,b", "--config", "theirs.yaml")
    assert (result.exit_code, proof.exists(), (tmp_path / "runs").exists()) == (2, False, False), result.output
    assert "--trust-code" in result.stderr
    invoke("photos", "--classes", "a,b", "--config", "theirs.yaml", "--trust-code")
    assert proof.exists()


@pytest.mark.parametrize(
    "arrays",
    [
        {"X": np.random.default_rng(0).random((30, 5), np.float32), "show": np.array([f"text {n}" for n in range(30)])},
        {"train_images": np.zeros((30, 8, 8), np.uint8), "train_labels": np.full((30, 1), -1)},
    ],
    ids=["embeddings", "images"],
)  # fmt: skip
def test_an_archive_without_labels(invoke, tmp_path, arrays):
    np.savez(tmp_path / "mine.npz", **arrays)
    served = invoke("mine.npz", "--classes", "a,b", "--model", "mlp").exception
    assert isinstance(served, Served), served
    data = served.context.data
    assert (len(data.train), data.classes) == (30, ("a", "b"))
