"""Reading runs, leaving some out, and every statistic again from results.csv with none of the project's code."""

import csv
import io
import itertools
from collections import defaultdict

import numpy as np
import pytest
from report_cases import write_grid, write_run
from scipy import stats

from pipeline.errors import PipelineError
from pipeline.report.across import across_data
from pipeline.report.analysis import analyse
from pipeline.report.results import read_results
from pipeline.report.table import results_csv

BONUS = {"random": 0.0, "entropy": 0.03, "margin": -0.01}


def made_up(strategy, seed):
    rng = np.random.default_rng([seed, sum(map(ord, strategy))])
    return {"accuracies": [float(x) for x in np.array([0.3, 0.5, 0.6, 0.7]) + BONUS[strategy] + rng.normal(0, 0.02, 4)]}


def read(*directories):
    return read_results(directories)


@pytest.fixture
def grid(tmp_path):
    def cells(strategy, seed):
        if (strategy, seed) == ("margin", 2):
            return {**made_up(strategy, seed), "state": "failed"}
        if (strategy, seed) == ("margin", 3):
            return {**made_up(strategy, seed), "state": "unfinished"}
        return None if (strategy, seed) == ("entropy", 5) else made_up(strategy, seed)

    return write_grid(tmp_path / "grid", ["entropy", "random", "margin"], range(7), cells)


def test_only_finished_runs_take_part(grid):
    results = read(grid)
    assert {entry.path.name: entry.reason for entry in results.excluded} == {
        "margin-seed2": "failed in cycle 3: the loss diverged",
        "margin-seed3": "unfinished: 3 of 4 cycles",
        "entropy-seed5": "not started",
    }
    (experiment,) = results.experiments
    assert experiment.strategies == ["random", "entropy", "margin"]  # the baseline first, the others as they came
    assert list(experiment.of("margin")) == [0, 1, 4, 5, 6]


def test_pairs_have_the_common_seeds(grid):
    analysis = analyse(read(grid).experiments[0])
    counts = {(test.a, test.b): test.n for test in analysis.all_pairs.tests}
    assert counts == {("random", "entropy"): 6, ("random", "margin"): 5, ("entropy", "margin"): 4}
    assert [(test.a, test.b, test.n) for test in analysis.against_baseline.tests] == [
        ("entropy", "random", 6),
        ("margin", "random", 5),
    ]


def area(curve):
    x, y = np.array(sorted(curve.items())).T
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) / (x[-1] - x[0]))


def band(values):
    half = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))[1] - np.mean(values)
    return np.mean(values), half


def signed_rank_p(differences):
    ranks = stats.rankdata(np.abs(differences))
    sums = np.array([np.dot(signs, ranks) for signs in itertools.product((0, 1), repeat=len(ranks))])
    seen = ranks[np.array(differences) > 0].sum()
    return min(1.0, 2 * min(np.mean(sums <= seen), np.mean(sums >= seen)))


def curves_of(text, metric="test_accuracy"):
    curves = defaultdict(dict)
    for row in csv.DictReader(io.StringIO(text)):
        if row["metric"] == metric:
            curves[row["strategy"], int(row["seed"])][int(row["n_labeled"])] = float(row["value"])
    return curves


def test_every_statistic_again_from_the_file_alone(grid):
    experiment = read(grid).experiments[0]
    analysis, curves = analyse(experiment), curves_of(results_csv([experiment]))
    areas = {cell: area(curve) for cell, curve in curves.items()}
    for line in analysis.lines:
        mine = [value for (name, _), value in areas.items() if name == line.strategy]
        assert (line.area.mean, line.area.half) == pytest.approx(band(mine), rel=1e-12)
        for labels, at in line.curve:
            there = [curve[labels] for (name, _), curve in curves.items() if name == line.strategy]
            assert (at.mean, at.half) == pytest.approx(band(there), rel=1e-12)
        for labels, at in line.gain:
            gaps = [
                curve[labels] - curves["random", seed][labels]
                for (name, seed), curve in curves.items()
                if name == line.strategy and ("random", seed) in curves
            ]
            assert (at.mean, at.half) == pytest.approx(band(gaps), rel=1e-12)
    for family in (analysis.all_pairs, analysis.against_baseline):
        found = []
        for test in family.tests:
            gaps = [areas[test.a, s] - areas[test.b, s] for s in range(7) if {(test.a, s), (test.b, s)} <= set(areas)]
            found.append(signed_rank_p(gaps))
            assert test.p == pytest.approx(found[-1], abs=1e-12)
        worst = 0.0
        for place, p in enumerate(sorted(found)):  # Holm, step by step
            worst = max(worst, min(1, p * (len(found) - place)))
            assert sorted(test.corrected for test in family.tests)[place] == pytest.approx(worst)


def test_labels_needed_again_from_the_file_alone(grid):
    experiment = read(grid).experiments[0]
    curves = curves_of(results_csv([experiment]))
    needed = []
    for seed in (0, 1, 2, 3, 4, 6):
        curve, target = curves["entropy", seed], curves["random", seed][24]
        fine = np.linspace(12, 24, 1_200_001)
        above = np.interp(fine, sorted(curve), [curve[x] for x in sorted(curve)]) >= target
        if above.any():
            needed.append(fine[above.argmax()])
    reached = analyse(experiment).line("entropy").reached
    assert (reached.reached, reached.n) == (len(needed), 6)
    assert reached.reached > 0
    assert reached.mean == pytest.approx(np.mean(needed), abs=1e-4)


def test_the_file_is_exact_and_counts_the_picks(grid):
    experiment = read(grid).experiments[0]
    text = results_csv([experiment])
    first = experiment.of("entropy")[0].rows[0]
    assert f"digits,mlp,entropy,0,0,12,test_accuracy,{first.test_accuracy!r}" in text
    for name, total in (("initial", 12), ("picked", 12)):
        rows = [row for row in csv.DictReader(io.StringIO(text)) if row["metric"].startswith(f"{name}[")]
        counts = [int(row["value"]) for row in rows if (row["strategy"], row["seed"]) == ("entropy", "0")]
        assert sum(counts) == total
    metrics = {row["metric"] for row in csv.DictReader(io.StringIO(text))}
    assert {"test_macro_f1", "test_ece", "test_accuracy[3]", "epochs", "score_s"} <= metrics


def test_a_run_of_an_older_version_lacks_some_columns_only(tmp_path):
    old = dict.fromkeys(("test_macro_f1", "test_ece")) | {"test_class_accuracy": [], "classes": []}
    run = write_run(tmp_path / "run", "random", 0, [0.3, 0.5], **old)
    line = analyse(read(run).experiments[0]).line("random")
    assert (line.macro_f1, line.ece, line.area.mean) == (None, None, pytest.approx(0.4))


def test_other_settings_are_another_experiment(tmp_path):
    runs = [
        write_run(tmp_path / f"{name}{subset}", name, 0, [0.3, 0.5], options={"query.subset": subset})
        for name in ("random", "entropy")
        for subset in (30, 40)
    ]
    options = {"query.subset": 30, "data.root": "elsewhere"}
    elsewhere = write_run(tmp_path / "c", "random", 1, [0.3, 0.5], options=options)
    results = read(*runs, elsewhere)
    assert [experiment.title for experiment in results.experiments] == [
        "digits, mlp, query.subset 30",
        "digits, mlp, query.subset 40",
    ]
    assert [len(experiment.runs) for experiment in results.experiments] == [3, 2]
    assert len({experiment.slug for experiment in results.experiments}) == 2
    assert "differ in other settings only" in across_data([analyse(e) for e in results.experiments]).why_not


def test_a_run_named_twice_counts_once(grid):
    assert len(read(grid, grid / "random-seed0").experiments[0].runs) == len(read(grid).experiments[0].runs)


def test_two_runs_of_one_cell_are_refused(tmp_path):
    runs = [write_run(tmp_path / name, "random", 0, [0.3, 0.5]) for name in ("a", "b")]
    with pytest.raises(PipelineError, match=r"one run of random with seed 0, but .*a and .*b are the same"):
        read(*runs)


def test_a_directory_that_is_neither_is_refused(tmp_path):
    with pytest.raises(PipelineError, match="is neither"):
        read(tmp_path)


def test_nothing_finished_is_refused_with_the_reasons(tmp_path):
    run = write_run(tmp_path / "run", "random", 0, [0.3, 0.5], state="failed")
    with pytest.raises(PipelineError, match="at least one finished run.*the loss diverged"):
        read(run)


@pytest.mark.parametrize("damage", ["events.jsonl", "config.yaml", "cycles/001/train/summary.json"])
def test_a_damaged_run_is_left_out_with_its_reason(tmp_path, damage):
    good, bad = (write_run(tmp_path / str(seed), "random", seed, [0.3, 0.5]) for seed in (0, 1))
    (bad / damage).write_text("{]\n")
    (entry,) = read(good, bad).excluded
    assert entry.path == bad
    assert "damaged" in entry.reason


def blocks(tmp_path, count, scores, turn=0):
    """``count`` experiments; from one to the next every strategy takes over the score of the one ``turn`` before it."""
    experiments = []
    for number in range(count):
        options = {"data.name": ("digits", "mnist")[number % 2], "model.options": {"width": 16 + number}}
        options |= {"data.root": str(tmp_path)}
        experiments += [
            write_run(tmp_path / f"{number}-{name}", name, 0, [0.3, score + number / 100], options=options)
            for name, score in zip(scores, np.roll([*scores.values()], turn * number).tolist(), strict=True)
        ]
    return across_data([analyse(experiment) for experiment in read(*experiments).experiments])


def test_friedman_over_data_sets_and_networks(tmp_path):
    across = blocks(tmp_path, 4, {"random": 0.5, "entropy": 0.6, "margin": 0.7})
    assert across.test.ranks == (3, 2, 1)
    assert across.test.statistic == pytest.approx(8)  # 12/(4·3·4) (144 + 64 + 16) − 3·4·4
    assert across.pairs is None
    assert "4 blocks no corrected p of 3 pairs can be below 0.375; 7 blocks would be needed" in across.why_not


def test_pairs_follow_once_there_are_enough_blocks(tmp_path):
    across = blocks(tmp_path, 7, {"random": 0.5, "entropy": 0.6, "margin": 0.7})
    assert not across.why_not
    assert {test.winner for test in across.pairs.tests} == {"margin", "entropy"}


def test_no_pairs_follow_when_friedman_does_not_reject(tmp_path):
    across = blocks(tmp_path, 7, {"random": 0.5, "entropy": 0.6, "margin": 0.7}, turn=1)
    assert across.test.p > 0.5
    assert across.pairs is None
    assert "does not reject" in across.why_not


def test_friedman_needs_three_strategies(tmp_path):
    assert "at least 3 strategies" in blocks(tmp_path, 2, {"random": 0.5, "entropy": 0.6}).why_not
