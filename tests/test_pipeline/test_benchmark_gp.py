"""`benchmarks/gp_accuracy.py` on a finished run, with another kernel in the place of neural-tangents'."""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.run.context import load_data
from pipeline.run.pool import Pool
from pipeline.run.rundir import read_config, read_events
from pipeline.run.summary import read_rows

pytestmark = pytest.mark.long

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gp_accuracy.py"


def rbf(twin, x, x2=None, **_):
    a, b = (images.reshape(len(images), -1).astype(float) for images in (x, x if x2 is None else x2))
    return np.exp(-((a[:, None] - b) ** 2).sum(2) / 64)


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("gp_accuracy", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "infinite_ntk", rbf)
    return module


def test_it_is_the_process_on_the_labels_of_each_cycle(script, start, go_on, tmp_path):
    run = start(query__strategy="random", cycles=2)
    go_on(run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    asked = [str(run), "--test", "60", "--out", str(tmp_path / "gp.csv")]
    result = CliRunner().invoke(script.main, asked, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before

    data, events = load_data(read_config(run)), read_events(run)
    sample = np.sort(np.random.default_rng(0).permutation(len(data.test))[:60])
    rows = list(csv.DictReader((tmp_path / "gp.csv").read_text().splitlines()))
    assert len(rows) == 2
    for row, of_run in zip(rows, read_rows(run), strict=True):
        known = Pool(len(data.train), events).labelled(int(row["cycle"]))
        X, T = data.inputs("train", known.ids), data.inputs("test", sample)
        K = rbf(None, X) + 1e-6 * np.eye(len(X))  # the kernel's diagonal is 1
        classes = (rbf(None, T, X) @ np.linalg.solve(K, np.eye(10)[known.labels])).argmax(1)
        assert float(row["gp_accuracy"]) == pytest.approx((classes == data.labels("test", sample)).mean())
        assert float(row["network_accuracy"]) == pytest.approx(of_run.test_accuracy, rel=1e-4)
        assert int(row["n_labeled"]) == len(known)
    assert "random: 1 runs, mean area of the process" in result.output


@pytest.mark.parametrize("ridge", [0.0, 1e-9, 0.1])
def test_it_predicts_by_a_dense_solve_with_a_ridge_relative_to_the_kernel(script, ridge):
    rng = np.random.default_rng(0)
    features, Y = rng.normal(size=(9, 20)), np.eye(3)[[0, 1, 2, 2, 0]]
    K = features @ features.T
    XX, TX = K[:5, :5], K[5:, :5]
    expected = TX @ np.linalg.solve(XX + max(ridge, 1e-6) * np.trace(XX) / 5 * np.eye(5), Y)
    np.testing.assert_allclose(script._predict(XX, TX, Y, ridge=ridge), expected, rtol=1e-10)
    # the least ridge keeps copies apart
    np.testing.assert_allclose(script._predict(np.ones((2, 2)), np.ones((1, 2)), np.eye(2)), [[0.5, 0.5]], rtol=2e-6)


def test_nothing_to_read_is_one_line(script, start, tmp_path):
    for run, asked, message in (
        (tmp_path, [], "expected a run directory"),
        (start(query__strategy="random"), ["--strategies", "gp"], "expected runs of gp, found none"),
    ):
        result = CliRunner().invoke(script.main, [str(run), *asked])
        assert result.exit_code == 2
        assert message in result.output
        assert result.output.count("\n") == 1
