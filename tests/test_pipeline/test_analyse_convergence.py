"""``pipeline analyse convergence``: by hand, and on a run."""

import csv

import numpy as np
import pytest
from fidelity_cases import make_run

from pipeline.analyse import plane
from pipeline.analyse.convergence import Found, correlated
from pipeline.analyse.convergence_report import accuracies
from pipeline.analyse.trainings import stays_below

pytestmark = pytest.mark.usefixtures("quick_compilation")
OPTIONS = {"model__name": "mlp", "model__options": {"width": 64}, "query__strategy": "crc", "train__epochs": 4}
SMALL = ("--sample", 24, "--groups", "1,4", "--trainings", 3, "--seeds", 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("analysed") / "run", **OPTIONS)


def test_when_a_loss_stays_below_by_hand():
    assert stays_below([5, 0.4, 2, 0.5, 0.3], 1.0) == 4  # it came back after the second
    assert stays_below([0.5, 0.5], 1.0) == 1
    assert np.isnan(stays_below([5, 0.4, 2], 1.0))
    assert np.isnan(stays_below([float("nan")], 1.0))


def test_a_correlation_leaves_out_what_is_not_known_by_hand():
    x, y = np.array([1.0, 2, 3, -np.inf, 4]), np.array([9.0, 7, 8, 1, np.nan])
    rho, p, n = correlated(x, y)
    assert (rho, n) == (pytest.approx(-0.5), 3)
    assert 0 < p < 1
    assert np.isnan(correlated(np.ones(4), np.arange(4.0))[0])


def test_accuracies_are_named_by_what_was_trained_on():
    row = Found("tables", "test accuracy", 0.5, 0, 2, "last", 0, "crc")
    rows = [row, row._replace(value=0.7, draw=1), row._replace(layers=None, chosen_by="random", value=0.6)]
    rows += [row._replace(chosen_by="crc, same groups", layers="all"), row._replace(part="transfer")]
    assert accuracies(rows, "tables") == {"crc G=2": [0.5, 0.7], "random": [0.6], "crc, same groups G=2, all": [0.5]}


def test_the_command_writes_what_every_number_rests_on_and_leaves_the_run_alone(run, command, tmp_path):
    analyse = command("analyse")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    said = analyse("convergence", run, *SMALL, "--out", "there").stdout
    names = {
        f"convergence-{name}.{kind}" for name in ("scores", "epochs", "tables", "transfer") for kind in ("svg", "png")
    }
    assert {path.name for path in (tmp_path / "there").iterdir()} == names | {"convergence.csv"}
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    with (tmp_path / "there/convergence.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row["basis"] for row in rows)
    scores = [row for row in rows if row["part"] == "scores" and row["quantity"] == "score"]
    there = {(row["cycle"], row["group"], row["layers"]) for row in scores}
    assert there >= {("0", "1", "last"), ("1", "4", "last"), ("0", "4", "all")}
    alone = next(float(r["value"]) for r in rows if r["quantity"] == "labelled set alone" and r["layers"] == "last")
    first = [float(r["value"]) for r in scores if (r["cycle"], r["layers"], r["group"]) == ("0", "last", "1")]
    assert len(first) == 24
    assert max(first) <= alone  # by interlacing: 12 labels and one are fewer than the features
    assert len([row for row in rows if row["quantity"] == "epochs"]) == 3
    assert "basis: labels of the data that nobody had given" in said
    assert "crc of an untrained network" in said


def test_scores_alone_read_no_label_and_bad_input_is_one_line(run, command):
    analyse = command("analyse")
    said = analyse(
        "convergence",
        run,
        "--sample",
        12,
        "--groups",
        "2",
        "--trainings",
        0,
        "--seeds",
        0,
        "--last-only",
        "--out",
        "alone",
    ).stdout
    assert "basis" not in said
    assert "--groups: expected groups" in analyse("convergence", run, "--sample", 12, "--groups", "13", code=2).stderr
    assert "--groups: expected sizes with commas" in analyse("convergence", run, "--groups", "x", code=2).stderr
    assert "--cycle: expected one that was trained" in analyse("convergence", run, "--cycle", 9, code=2).stderr


def test_the_illustration_enlarges_four_points_of_both_moons():
    _, y, steps = plane.illustrate(side=4, queries=1, epochs=1)
    assert sorted(y[steps[0].labelled]) == [0, 0, 1, 1]
    assert len(steps) == 2
    assert set(steps[1].labelled) == {*steps[0].labelled, *steps[0].queried}
    assert len(steps[1].labelled) == 8
