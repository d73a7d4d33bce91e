"""What is said of a cycle's scores: in diagnostics.json, as warnings while it runs, and in metrics.csv."""

import csv
import json
import re

import pytest

from pipeline.run.stages.diagnostics import cautions
from pipeline.run.summary import SCORE_METRICS, read_rows

SOUND = {
    "candidates": 100,
    "score_mean": 2.0,
    "score_spread": 0.4,
    "condition_number": 1e4,
    "rounding": 6e-4,
    "jitter": 0.0,
    "redundant_share": 0.5,
    "common_share": 0.9,
}
DOUBTS = {
    "singular": ({"jitter": 1e-9, "condition_number": None, "rounding": None}, "jitter of 1e-09.*kernel.ridge=1e-6"),
    "singular to rounding": (
        {"condition_number": None, "rounding": None},
        "infinite condition number.*kernel.ridge=1e-6",
    ),
    "rounding": ({"condition_number": 3e7, "rounding": 1.8}, "number of 3e[+]07 .* rounding.*kernel.precision=float64"),
    "nothing new": ({"redundant_share": 0.51}, "51% of the candidates .* a wider network"),
    "unfinished": ({"common_share": 0.93}, "93% of the scores .* --epochs.*--reference linearized"),
    "all the same": ({"score_spread": 0.0}, "as good as random"),
    "all zero": ({"score_spread": None, "score_mean": 0.0}, "as good as random"),
}


def test_sound_scores_are_not_warned_of():
    assert list(cautions(SOUND)) == []
    assert list(cautions({"candidates": 100, "score_mean": 2.0, "score_spread": 0.4})) == []  # not of a look-ahead


@pytest.mark.parametrize("doubt", DOUBTS)
def test_each_doubt_is_one_line_with_its_remedy(doubt):
    figures, said = DOUBTS[doubt]
    [line] = cautions(SOUND | figures)
    assert re.search(said, line)
    assert "\n" not in line


@pytest.mark.parametrize(
    "figures", [{"jitter": 1e-9}, {"condition_number": None, "rounding": None}, {"redundant_share": 0.51}]
)
def test_a_kernel_of_infinite_width_is_not_told_to_be_wider(figures):
    [line], [infinite] = (list(cautions(SOUND | figures | {"infinite_width": width})) for width in (0.0, 1.0))
    assert "a wider network" in line
    assert "wider" not in infinite
    assert "precision" not in infinite  # it knows none


def metrics(path):
    with (path / "metrics.csv").open(newline="") as file:
        return {
            (row["cycle"], row["metric"]): float(row["value"])
            for row in csv.DictReader(file)
            if row["split"] == "score"
        }


def test_unfinished_training_is_warned_of_unless_change_is_measured_without_it(start, go_on):
    """After one epoch, most of what mlmoc sums up is what training would still change."""
    said = {}
    for reference in ("network", "linearized"):
        path = start(reference, query__strategy="mlmoc", query__reference=reference, cycles=2, train__epochs=1)
        recorder = go_on(path)
        said[reference] = [line for line in recorder.warnings if "finishing training alone" in line]
        figures = json.loads((path / "cycles/000/score/diagnostics.json").read_text())
        rows = read_rows(path)
        assert rows[0].diagnostics == {name: figures[name] for name in SCORE_METRICS}
        assert rows[1].diagnostics == {}  # nothing is queried in the last cycle
        table = metrics(path)
        assert table["0", "common_share"] == pytest.approx(figures["common_share"], rel=1e-5)
        assert table["0", "spread"] == pytest.approx(figures["score_spread"], rel=1e-5)
        assert table["0", "condition_number"] == pytest.approx(figures["condition_number"], rel=1e-5)
        assert figures["rounding"] == pytest.approx(figures["condition_number"] * 2**-24)
        assert {cycle for cycle, _ in table} == {"0"}
    assert len(said["network"]) == 1
    assert said["linearized"] == []


def test_strategies_without_a_kernel_have_their_spread_alone(start, go_on):
    path = start(query__strategy="margin", cycles=2)
    go_on(path)
    assert {name for _, name in metrics(path)} == {"spread"}
