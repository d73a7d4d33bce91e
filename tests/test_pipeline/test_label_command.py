"""``pipeline label`` as a command: what it refuses, in one line and before anything is written, and what it begins."""

import socket
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from folder_cases import put

from pipeline.cli import cli
from pipeline.commands import label as command
from pipeline.session.state import notes_of


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
    monkeypatch.setattr("pipeline.cli.place_of", lambda error: None)  # this file's is not somebody else's code
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
        {"train_images": np.arange(1920).reshape(30, 8, 8) % 256, "train_labels": np.full((30, 1), -1)},
    ],
    ids=["embeddings", "images"],
)  # fmt: skip
def test_an_archive_without_labels(invoke, tmp_path, arrays):
    np.savez(tmp_path / "mine.npz", **arrays)
    served = invoke("mine.npz", "--classes", "a,b", "--model", "mlp").exception
    assert isinstance(served, Served), served
    data = served.context.data
    assert (len(data.train), data.classes) == (30, ("a", "b"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "80"], "expected a port from 1024"),
        (["--port", "99999"], "expected a port from 1024"),
        (["--annotator", ""], "--annotator: expected a name"),
        (["--annotator", "x" * 65], "64 printable characters"),
        (["--annotator", "a\nb"], "64 printable characters"),
        (["--annotator", "given"], "choose another name"),
        (["--budget", "0"], "--budget"),
        (["--overlap", "2"], "--overlap"),
        (["--classes", "a"], "expected two or more names"),
        (["--classes", "a,a"], "expected two or more names"),
        (["--classes", "a,,b"], "expected two or more names"),
        (["--set", "annotator.name=files"], "expected page"),
        (["--image-size", "0"], "--image-size: expected a side"),
    ],
)
def test_bad_input_is_one_line_and_makes_nothing(invoke, tmp_path, arguments, message):
    before = sorted(tmp_path.iterdir())
    result = invoke("photos", "--classes", "a,b", *arguments)
    assert result.exit_code == 2, result.output
    [line] = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
    assert line.startswith("error: ")
    assert message in line
    assert sorted(tmp_path.iterdir()) == before


def test_a_port_that_is_taken_is_said_before_anything_is_made(invoke, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        result = invoke("photos", "--classes", "a,b", "--port", other.getsockname()[1])
    assert result.exit_code == 2, result.output
    assert "cannot be used" in result.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("classes", ["", "c,,d", "c\nd", "x" * 256])
def test_bad_names_of_more_classes_for_a_run(invoke, tmp_path, classes):
    begun = invoke("photos", "--classes", "a,b").exception
    assert isinstance(begun, Served)
    result = invoke(begun.path, "--classes", classes)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1), result.output
    assert begun.path == Path("runs/photos-label")


def test_a_second_run_of_the_same_images_says_where_the_first_is(invoke):
    assert isinstance(invoke("photos", "--classes", "a,b").exception, Served)
    result = invoke("photos", "--classes", "a,b")
    assert result.exception.path == Path("runs/photos-label-2")
    assert "go on with an earlier one: pipeline label runs/photos-label\n" in result.stderr


def test_the_help_names_its_own_defaults(invoke):
    text = " ".join(invoke("--help").stdout.split())
    assert f"Labels to start with. [{command.QUERY['n_init']}]" in text
    assert f"at most the pool. [{command.QUERY['subset']}]" in text


def test_folders_that_may_be_no_classes_are_named(invoke, tmp_path):
    for number in range(6):
        put(tmp_path, f"mine/{('holiday', 'garden')[number % 2]}/{number}.png", seed=number)
    result = invoke("mine")
    assert (result.exit_code, result.exception.args) == (2, (2,))
    assert (
        "nothing to ask: where garden, holiday are no classes of yours, name yours: --classes cat,dog" in result.stderr
    )
    put(tmp_path, "mine/6.png")
    shown = notes_of(invoke("mine").exception.context)
    assert "6 images are taken as labelled by the names of their folders: garden, holiday. If " in shown[-1]
    assert not any(
        "taken as labelled" in line for line in notes_of(invoke("photos", "--classes", "a,b").exception.context)
    )
    named = invoke("mine", "--classes", "holiday,garden").exception.context
    assert not any("taken as labelled" in line for line in notes_of(named))


def test_a_run_is_not_made_among_its_own_images(invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "photos")
    result = invoke(".", "--classes", "a,b")
    assert result.exit_code == 2, result.output
    assert "expected a directory outside of the images' folder, got runs/photos-label" in result.stderr
    assert not (tmp_path / "photos/runs").exists()
    assert isinstance(invoke(".", "--classes", "a,b", "--out", "../mine").exception, Served)
