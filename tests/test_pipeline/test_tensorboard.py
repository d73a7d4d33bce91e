"""The TensorBoard view: read back with TensorBoard's own reader, and what happens without the package."""

import json
import shutil
import sys

import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.run.rundir import create_run, read_config
from pipeline.run.summary import read_rows
from pipeline.sweep.grid import Grid, shared
from pipeline.tensorboard import runs_by_name


@pytest.fixture
def grid(tmp_path, start, go_on):
    """A grid of one finished cell, and one that has not begun."""
    alone = read_config(start("alone", query__strategy="random", cycles=2))
    plan = Grid.of(alone, ["random", "entropy"], [0])
    (tmp_path / "grid").mkdir()
    (tmp_path / "grid/grid.yaml").write_text(plan.to_yaml())
    assert shared(alone) == plan.resolved()
    create_run(tmp_path / "grid/random-seed0", plan.config("random", 0))
    go_on(tmp_path / "grid/random-seed0")
    return tmp_path / "grid"


def call(*arguments, code=0):
    result = CliRunner().invoke(cli, ["tensorboard", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def points(directory):
    """All points of a log, as TensorBoard itself reads them: {tag: [(step, value), ...]}."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(directory))
    log.Reload()
    return {tag: [(event.step, event.value) for event in log.Scalars(tag)] for tag in log.Tags()["scalars"]}


def test_tensorboard_reads_what_finished_cycles_measured(grid, tmp_path):
    pytest.importorskip("tensorboard")
    run = grid / "random-seed0"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    out = call(run, grid, "--out", tmp_path / "logs").stdout.splitlines()
    assert [line.split(":")[0] for line in out[:2]] == ["random-seed0", "grid/random-seed0"]
    assert out[2] == f"look at them with: tensorboard --logdir {tmp_path / 'logs'}"
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    read, rows = points(tmp_path / "logs/grid/random-seed0"), read_rows(run)
    assert read == points(tmp_path / "logs/random-seed0")
    assert read["test by labels/accuracy"] == [(row.n_labelled, pytest.approx(row.test_accuracy)) for row in rows]
    assert read["test by cycle/ece"] == [(row.cycle, pytest.approx(row.test_ece)) for row in rows]
    assert read["test by cycle/accuracy[3]"] == [(row.cycle, pytest.approx(row.test_class_accuracy[3])) for row in rows]
    assert read["seconds by cycle/train"] == [(row.cycle, pytest.approx(row.seconds["train"])) for row in rows]
    history = [json.loads(line) for line in (run / "cycles/001/train/metrics.jsonl").read_text().splitlines()]
    expected = [(epoch["epoch"], pytest.approx(epoch["loss"])) for epoch in history]
    assert read["training by epoch, loss/cycle 001"] == expected
    assert len(read["training by epoch, residual_rms/cycle 001"]) < len(history)


def test_a_name_that_comes_twice_is_numbered(grid, tmp_path):
    twin = tmp_path / "elsewhere/grid"
    twin.mkdir(parents=True)
    (twin / "events.jsonl").touch()
    assert list(runs_by_name((grid, twin))) == ["grid/random-seed0", "grid-2"]


def test_bad_input_is_one_line_and_nothing_is_written(grid, tmp_path, start):
    pytest.importorskip("tensorboard")
    begun = start("begun")
    (begun / "events.jsonl").touch()
    for arguments, message in [
        ([tmp_path / "nowhere"], "expected a run with an events.jsonl or a grid with a grid.yaml"),
        ([begun], "expected a finished cycle in at least one of 1 runs"),
    ]:
        assert message in call(*arguments, "--out", tmp_path / "logs", code=2).stderr
        assert not [path for path in tmp_path.iterdir() if "logs" in path.name]
    held = (grid / "grid.yaml").read_bytes()
    assert "expected a new or empty directory" in call(grid, "--out", grid, code=2).stderr
    assert (grid / "grid.yaml").read_bytes() == held
    assert "no finished cycle yet, left out" in call(grid, begun, "--out", tmp_path / "logs").stdout
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["grid"]


def test_without_the_package_one_line_says_what_to_install(grid, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    result = call(grid, "--out", tmp_path / "logs", code=2)
    assert result.stderr.count("\n") == 1
    assert "pip install tensorboard" in result.stderr
    assert not (tmp_path / "logs").exists()


DAMAGED = {
    "train/metrics.jsonl": "what it measured is damaged (it nests too deeply): 'pipeline resume ",
    "train/summary.json": "train/summary.json is missing or is not the one that was written: 'pipeline verify ",
    "train/manifest.json": "train/manifest.json is missing or damaged: 'pipeline verify ",
}


@pytest.mark.parametrize("file", DAMAGED)
def test_what_is_damaged_is_one_line(grid, tmp_path, file):
    pytest.importorskip("tensorboard")
    run = tmp_path / "copy"
    shutil.copytree(grid / "random-seed0", run)
    (run / "cycles/000" / file).write_text("[" * 100_000 + "\n")
    said = call(run, "--out", tmp_path / "logs", code=2).stderr
    assert DAMAGED[file] in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "logs").exists()
