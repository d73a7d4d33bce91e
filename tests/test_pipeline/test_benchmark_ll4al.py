"""`benchmarks/ll4al.py` measures every combination once, counts what diverges, and goes on where it was."""

import csv

import pytest
from click.testing import CliRunner

import benchmark_scripts
from benchmark_scripts import invoke
from trainer.learners import loss_prediction

pytestmark = pytest.mark.long

SMALL = (
    "--model", "cnn", "--option", "width=4", "--losses", "l2", "--seeds", 0, "--n-init", 12, "--query-size", 4,
    "--subset-size", 30, "--cycles", 2, "--epochs", 2, "--set", "threads=1", "--set", "device=cpu",
)  # fmt: skip


@pytest.fixture
def ll4al(monkeypatch):
    return benchmark_scripts.benchmark(monkeypatch, "ll4al")


def test_it_measures_each_combination_once(ll4al, tmp_path):
    out = tmp_path / "x.csv"
    invoke(ll4al.main, "measure", *SMALL, "--rates", "0.1,1e30", "--out", out)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["max_lr"], row["strategy"], row["learner"]) for row in rows] == [
        (rate, *way) for rate in ("0.1", "1e+30") for way in ll4al.WAYS
    ]
    assert [bool(row["accuracy"]) for row in rows] == [True] * 3 + [False] * 3
    assert invoke(ll4al.main, "measure", *SMALL, "--rates", "0.1", "--out", out) == ""
    again = invoke(ll4al.main, "measure", *SMALL, "--rates", "0.1", "--weights", "0.5", "--out", out)
    assert again.count("weight 0.5") == 2
    assert loss_prediction.WEIGHT == 1.0
    table = invoke(ll4al.main, "table", out).splitlines()
    assert len(table) == 5
    accuracy = [f"{100 * float(row['accuracy']):.2f}" for row in rows[:3]]
    assert table[2].startswith("| l2 | 1e+30 | 1 of 1 diverged | 1 of 1 diverged | 1 of 1 diverged | –")
    assert table[3].startswith(f"| l2 | 0.1 | {accuracy[0]} | {accuracy[1]} | {accuracy[2]} | ")
    assert table[4].startswith("| l2, λ = 0.5 | 0.1 | ")


def test_numbers_that_are_none_are_refused(ll4al, tmp_path):
    found = CliRunner().invoke(ll4al.main, ["measure", "--rates", "high", "--out", str(tmp_path / "x.csv")])
    assert found.exit_code == 2
    assert "expected numbers such as 1,0.1, got 'high'" in found.output
