"""A report with a baseline of one's own and some of the strategies: the numbers by hand, and that the page says so."""

import csv
import io
import re

import pytest
from click.testing import CliRunner
from report_cases import write_grid, write_run

from pipeline import cli
from pipeline.errors import PipelineError
from pipeline.report import figures
from pipeline.report.analysis import analyse
from pipeline.report.page import Chapter, render
from pipeline.report.provenance import commands
from pipeline.report.results import read_results
from pipeline.report.sources import Choice
from pipeline.report.table import results_csv
from pipeline.report.thumbnails import Sheet

START = [0.3, 0.5, 0.6]
STRATEGIES = ["random", "entropy", "margin"]
OPTIMISTIC = "after seeing results makes p-values optimistic"


def lifted(strategy, seed):
    """A cell whose curve lies above random's by k at entropy, 2k at margin, k = 0.1 (1 + seed / 50), but for its start.

    The area lies above by (0 + 1)/2 · 1/2 + 1/2 = 3/4 of that; k is 0.106 on average over 7 seeds.
    """
    k = 0.1 * STRATEGIES.index(strategy) * (1 + seed / 50)
    return {"accuracies": [START[0], START[1] + k, START[2] + k]}


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    return write_grid(tmp_path_factory.mktemp("chosen") / "grid", STRATEGIES, range(7), lifted)


def analysis_of(*directories, **choice):
    (experiment,) = read_results(directories, Choice.of(choice.get("baseline"), choice.get("strategies"))).experiments
    return analyse(experiment)


def text_of(*directories, baseline=None, strategies=None):
    """The words of the page without its figures, which take most of the time."""
    results = read_results(directories, Choice.of(baseline, strategies))
    chapters = [Chapter(experiment, analyse(experiment), (), Sheet(0, {})) for experiment in results.experiments]
    page = re.sub(r"<style.*?</style>|<[^>]*>", " ", render(results, chapters), flags=re.S)
    return " ".join(page.replace("&#39;", "'").split())


def test_the_family_is_against_the_baseline_that_was_chosen(grid):
    analysis = analysis_of(grid, baseline="margin")
    assert analysis.experiment.strategies == ["margin", "random", "entropy"]
    found = {(test.a, test.b): test for test in analysis.against_baseline.tests}
    assert list(found) == [("random", "margin"), ("entropy", "margin")]
    assert found["random", "margin"].difference.mean == pytest.approx(-0.75 * 0.212)
    assert found["entropy", "margin"].difference.mean == pytest.approx(-0.75 * 0.106)
    assert [test.p for test in found.values()] == [2 / 2**7] * 2
    assert [test.corrected for test in found.values()] == [4 / 2**7] * 2
    assert len(analysis.all_pairs.tests) == 3


def test_differences_and_labels_are_from_the_baseline_that_was_chosen(grid):
    lines = {line.strategy: line for line in analysis_of(grid, baseline="entropy").lines}
    assert lines["entropy"].gain == ()
    assert lines["entropy"].reached is None
    assert [(labels, round(at.mean, 12)) for labels, at in lines["margin"].gain] == [(12, 0), (16, 0.106), (20, 0.106)]
    assert [(labels, round(at.mean, 12)) for labels, at in lines["random"].gain] == [
        (12, 0),
        (16, -0.106),
        (20, -0.106),
    ]
    assert (lines["margin"].reached.reached, lines["random"].reached.reached) == (7, 0)


def test_every_sentence_names_the_baseline_that_was_chosen(grid):
    text = text_of(grid, baseline="entropy")
    for sentence in (
        "The baseline, entropy, was chosen for this report (--baseline entropy); by default it is random. Choosing it "
        f"{OPTIMISTIC}.",
        "3 strategies (entropy, random, margin), 7 seeds each, 12 to 20 labels.",
        # 0.475 + 0.75 · 0.212 and 0.475 + 0.75 · 0.106; ± t(0.975, 6) = 2.4469 times 2.1602 / 50 · 0.15 (0.075) / √7
        "(AUBC), 63.40 ± 0.60 %; entropy had 55.45 ± 0.30 %.",
        "random did worse than entropy: −7.95 ± 0.30 points of AUBC over 7 seeds (corrected p = 0.031).",
        "margin did better than entropy: +7.95 ± 0.30 points of AUBC over 7 seeds (corrected p = 0.031).",
        "random did worse than margin: −15.90 ± 0.60 points of AUBC over 7 seeds (corrected p = 0.047).",
        "To reach entropy's final accuracy of the same seed, margin took 16 labels on average (7 of 7 seeds reached",
        "labels to entropy's final accuracy selection per query",
        "Labels to entropy's final accuracy: at the same seed",
        "Against entropy The primary question, with the baseline chosen for this report (--baseline entropy), declared",
        "Each strategy and entropy strategy compared with",
    ):
        assert sentence in text
    assert "random's" not in text
    assert "Only the strategies named" not in text


def test_with_too_few_seeds_the_chosen_baseline_is_named_too(tmp_path):
    text = text_of(write_grid(tmp_path / "grid", STRATEGIES, range(2), lifted), baseline="margin")
    assert "Whether any strategy differs from margin is open. With 2 common seeds" in text
    assert "Differences from margin in this sample, in points of AUBC: random −15.15" in text
    assert "from random" not in text


def test_a_difference_from_the_chosen_baseline_that_is_none_is_not_claimed(tmp_path):
    def cells(strategy, seed):
        return {"accuracies": [0.3, 0.5, 0.6 + 0.01 * seed * (-1) ** seed * (strategy == "random")]}

    text = text_of(write_grid(tmp_path / "grid", ["random", "margin"], range(8), cells), baseline="margin")
    assert "No difference from margin could be shown for random (" in text


def test_by_default_the_page_tells_of_no_choice(grid):
    text = text_of(grid)
    assert "Against random The primary question, declared as a family" in text
    assert "labels to random's final accuracy" in text
    for word in ("--baseline", "--strategies names", OPTIMISTIC, "takes no part", "was left out", "were not named"):
        assert word not in text


def test_left_out_strategies_are_named_and_the_correction_gets_smaller(grid):
    text = text_of(grid, baseline="margin", strategies="entropy,margin")
    assert (
        "Only the strategies named for this report (--strategies) take part; left out, though there are runs of them: "
        f"random. Choosing strategies {OPTIMISTIC}: they are corrected for the comparisons made here, not for those "
        "left out."
    ) in text
    assert "random takes no part: nothing here says whether any strategy is better than choosing at random." in text
    assert "2 strategies (margin, entropy), 7 seeds each" in text
    # one comparison where all strategies made two: 2 · 0.5⁷ instead of 4 · 0.5⁷
    assert "entropy did worse than margin: −7.95 ± 0.30 points of AUBC over 7 seeds (corrected p = 0.016)." in text
    assert "Every run of the strategies named took part. Rule:" in text


def test_random_left_out_is_no_baseline_that_is_not_finished(grid):
    text = text_of(grid, strategies="margin,entropy")
    assert "random was left out: without that baseline a comparison says little, so name it too, or choose" in text
    assert "is finished:" not in text
    assert "Against random" not in text
    assert "labels to random's final accuracy" not in text
    assert "takes no part" not in text  # once is enough
    assert (
        "All pairs Paired Wilcoxon signed-rank tests of the AUBC at common seeds, two-sided, over the one pair." in text
    )


def test_random_that_nobody_ran_is_missed_beside_another_baseline(tmp_path):
    grid = write_grid(tmp_path / "grid", ["entropy", "margin"], range(6), lifted)
    text = text_of(grid, baseline="margin")
    assert "random takes no part: nothing here says whether any strategy is better than choosing at random." in text
    assert "entropy did worse than margin: " in text
    assert "No run of random" not in text
    text = text_of(grid)
    assert "No run of random is finished: without that baseline a comparison says little, so run it too." in text
    assert "labels to random's final accuracy" not in text


def test_an_experiment_without_the_baseline_that_another_has_says_so(grid, tmp_path):
    runs = [
        write_run(tmp_path / name, name, 0, START, options={"model.options": {"width": 16}})
        for name in ("random", "entropy")
    ]
    text = text_of(grid, *runs, baseline="margin")
    assert text.count("No run of margin, the baseline, is finished here: nothing is tested against it.") == 1
    assert text.count("Against margin") == 1
    text = text_of(grid, *runs, strategies="margin")  # no strategy of the other experiment takes part
    assert "In short Only the strategies named" in text
    assert "Across data sets" not in text
    assert "left out, though there are runs of them: random, entropy." in text


def test_the_order_given_is_kept_after_the_baseline(grid):
    for named, order in (
        ("margin,entropy,random", ["random", "margin", "entropy"]),
        ("entropy, margin", ["entropy", "margin"]),
        ("margin,entropy", ["margin", "entropy"]),
    ):
        assert analysis_of(grid, strategies=named).experiment.strategies == order


def test_runs_of_others_are_neither_read_nor_listed(tmp_path):
    def cells(strategy, seed):
        if strategy == "entropy":
            return None if seed else {**lifted(strategy, seed), "state": "failed"}
        return {**lifted(strategy, seed), "state": "unfinished" if (strategy, seed) == ("margin", 1) else "finished"}

    grid = write_grid(
        tmp_path / "grid", [*STRATEGIES, "badge"], [0, 1], lambda s, i: None if s == "badge" else cells(s, i)
    )
    results = read_results([grid], Choice.of(None, "random,margin"))
    assert [entry.path.name for entry in results.excluded] == ["margin-seed1"]
    assert results.left_out == ("entropy",)  # no run of badge was ever begun
    text = text_of(grid, strategies="random,margin")
    assert "1 run took no part, besides those of strategies that were not named. Rule:" in text
    assert "entropy-seed" not in text


def test_the_grid_s_check_is_of_those_that_take_part(tmp_path):
    def cells(strategy, seed):
        return {**lifted(strategy, seed), "initial": [*range(1, 13)] if strategy == "entropy" else [*range(12)]}

    grid = write_grid(tmp_path / "grid", STRATEGIES, [0], cells)
    assert "the initial set is not that of" in text_of(grid)
    assert "Not the same for all strategies" not in text_of(grid, strategies="random,margin")
    assert "Not the same for all strategies" in text_of(grid, strategies="random,entropy")


def test_the_file_holds_the_same_and_names_the_baseline(grid):
    experiments = read_results([grid], Choice.of("margin", "margin,entropy")).experiments
    rows = list(csv.DictReader(io.StringIO(results_csv(experiments))))
    assert list(dict.fromkeys(row["strategy"] for row in rows)) == ["margin", "entropy"]
    assert {row["baseline"] for row in rows} == {"margin"}
    without = read_results([grid], Choice.of(None, "margin,entropy")).experiments
    assert {row["baseline"] for row in csv.DictReader(io.StringIO(results_csv(without)))} == {""}


def test_the_command_of_the_report_asks_for_the_same(grid):
    command = f"pipeline report {grid} --strategies margin,entropy --baseline margin"
    assert commands([grid], Choice.of("margin", "margin, entropy"))[-1] == command
    assert text_of(grid, baseline="margin", strategies="margin,entropy").endswith(command)


def test_figures_are_from_the_baseline_that_was_chosen(grid, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "rendered", lambda figure: drawn.append(figure) or (b"", b""))
    analysis = analysis_of(grid, baseline="margin")
    gains = figures.draw_gains(analysis)
    assert (gains.name, gains.title) == ("digits-mlp-difference-from-margin", "Difference from margin")
    assert gains.alt == (
        "Difference from margin at the same seed and labels. At the end: random -21.2 points, entropy -10.6 points."
    )
    assert drawn[0].get_supylabel() == "points of accuracy over margin"
    figures.draw_curves(analysis)
    (axes,) = drawn[1].axes
    assert [line.get_label() for line in axes.lines if line.get_linestyle() == ":"] == ["margin"]


def test_a_long_baseline_fits_beside_a_row_of_panels(grid, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "rendered", lambda figure: drawn.append(figure) or (b"", b""))
    experiments = read_results([grid]).experiments
    analysis = analyse(experiments[0])
    object.__setattr__(analysis.experiment, "choice", Choice("my.module:A$b$-strategy-of-a-name-so-long"))
    assert figures.draw_gains(analysis).name == "digits-mlp-difference-from-A-b-strategy-of-a-name-so-long"
    assert max(map(len, drawn[0].get_supylabel().split("\n"))) <= figures.AXIS_WIDTH
    assert r"A\$b\$" in drawn[0].get_supylabel()


@pytest.mark.parametrize(
    ("baseline", "strategies", "reason"),
    [
        (
            "best",
            None,
            "--baseline: expected a strategy with a finished run here (random, entropy, margin), but best has",
        ),
        ("", None, "--baseline: expected a strategy with a finished run here"),
        ("random", "margin,entropy", "--baseline: expected one of --strategies (margin, entropy), got random"),
        (
            None,
            "margin,best",
            "--strategies: expected strategies with a run here (random, entropy, margin), but best has ",
        ),
        (None, "good,margin,best", "but good, best have none: name some of those"),
        (None, "margin,random,margin", "--strategies: expected each once, but margin is listed more than once"),
        (None, "", "--strategies: expected names with commas such as random,margin, got ''"),
        (None, "margin,,random", "--strategies: expected names with commas"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(grid, baseline, strategies, reason, tmp_path):
    options = [] if baseline is None else ["--baseline", baseline]
    options += [] if strategies is None else ["--strategies", strategies]
    result = CliRunner().invoke(cli.cli, ["report", str(grid), "--out", str(tmp_path / "out"), *options])
    assert result.exit_code == 2
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_baseline_that_is_asked_for_must_be_finished(tmp_path):
    grid = write_grid(
        tmp_path / "grid",
        ["random", "margin"],
        [0],
        lambda name, seed: {**lifted(name, seed), "state": "unfinished" if name == "margin" else "finished"},
    )
    with pytest.raises(PipelineError, match=r"finished run here \(random\), but margin has none"):
        read_results([grid], Choice.of("margin", None))


def test_the_command_makes_what_was_asked_for(grid, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.report.page.draw_all", lambda analysis: [figures.draw_gains(analysis)])
    arguments = ["report", str(grid), "--out", str(tmp_path), "--baseline", "margin", "--strategies", "random, margin"]
    result = CliRunner().invoke(cli.cli, arguments)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "index.html").read_text()
    assert "The baseline, margin, was chosen for this report" in page
    assert "left out, though there are runs of them: entropy." in page
    assert (tmp_path / "digits-mlp-difference-from-margin.svg").exists()
    assert "entropy" not in (tmp_path / "results.csv").read_text()


def test_every_curve_is_named_at_its_end_in_its_colour(grid, monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "rendered", lambda figure: shown.append(figure) or (b"", b""))
    analysis = analysis_of(grid)
    figures.draw_curves(analysis)
    [axes] = shown[0].axes
    colours = {line.get_label(): line.get_color() for line in axes.lines}
    assert "random" in colours
    assert {text.get_text(): text.get_color() for text in axes.texts} == colours
    assert not shown[0].legends
    monkeypatch.setattr(figures, "fit", lambda ends: False)
    figures.draw_curves(analysis)
    assert [text.get_text() for text in shown[1].legends[0].get_texts()] == list(colours)
