"""The page: what it may say, that it stands alone, and the command that makes it."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from report_cases import write_grid, write_run

from pipeline import cli
from pipeline.config import load_config
from pipeline.report import wording
from pipeline.report.analysis import analyse
from pipeline.report.curves import accuracy_range, lines_under
from pipeline.report.figures import OKABE_ITO, _legend_columns, _panel_title, _tick_labels, draw_all, style_of
from pipeline.report.page import Chapter, render, write_comparison
from pipeline.report.provenance import commands, options_of, spell_seeds
from pipeline.report.results import read_results
from pipeline.report.thumbnails import MOST_CYCLES, MOST_PICKS, Sheet, make_sheet, png_uri
from pipeline.sweep.estimate import append_attempt
from pipeline.sweep.process import Attempt
from trainer.data import load

START = [0.3, 0.5, 0.6]


def lifted(by):
    return [0.3, 0.5 + by, 0.6 + by]


def compared(tmp_path, strategies, seeds, *, gain=0.05, name="grid"):
    """A grid in which every strategy gains over random by a little more at every seed."""

    def cells(strategy, seed):
        place = strategies.index(strategy)
        return {"accuracies": lifted(place * gain * (1 + seed / 50)) if place else START}

    return write_grid(tmp_path / name, strategies, range(seeds), cells)


def page_of(*directories, out=None):
    return write_comparison(directories, out).read_text()


def words_of(*directories):
    """The page without its figures, which take most of the time."""
    results = read_results(directories)
    chapters = [Chapter(experiment, analyse(experiment), (), Sheet(0, {})) for experiment in results.experiments]
    return render(results, chapters)


def visible(page):
    return " ".join(re.sub(r"<style.*?</style>|<[^>]*>", " ", page, flags=re.S).split())


CLAIMS = ("better than", "worse than", ">better<", ">worse<")


@pytest.mark.parametrize(
    ("strategies", "seeds", "decided"),
    [
        (["random", "entropy"], 5, False),
        (["random", "entropy"], 6, True),
        (["random", "entropy", "margin"], 6, False),  # two comparisons: Holm's smallest p is 2/32
        (["random", "entropy", "margin"], 7, True),
    ],
)
def test_better_is_said_only_after_the_corrected_test(tmp_path, strategies, seeds, decided):
    page = words_of(compared(tmp_path, strategies, seeds))
    assert ("entropy did better than random: +" in page) == decided
    if not decided:
        assert not [claim for claim in CLAIMS if claim in page.replace("<strong>", "").replace("</strong>", "")]
        assert "Whether any strategy differs from random is open. With " in page
        assert page.count("no test can decide") >= 2  # in short, and where the tests are


def test_worse_is_said_likewise(tmp_path):
    page = words_of(compared(tmp_path, ["random", "entropy"], 6, gain=-0.05))
    assert "entropy did worse than random: −" in page
    assert "better than" not in page


def test_too_few_seeds_are_said_in_numbers(tmp_path):
    text = visible(words_of(compared(tmp_path, ["random", "entropy"], 5)))
    assert "With 5 common seeds no test can decide" in text
    assert "this comparison takes at least 6. The smallest corrected p that could come out was 0.0625." in text
    text = visible(words_of(compared(tmp_path, ["random", "entropy", "margin"], 6, name="three")))
    assert "these 2 comparisons take at least 7. The smallest corrected p that could come out was 0.0625." in text
    assert "these 3 comparisons take at least 7. The smallest corrected p that could come out was 0.09375." in text


def test_one_rule_about_seeds_is_said_and_no_other(tmp_path):
    """Three numbers of seeds for one question are two too many."""
    text = visible(words_of(compared(tmp_path, ["random", "entropy", "margin"], 2)))
    summary = text[: text.index("digits, mlp", text.index("digits, mlp", text.index("In short")) + 1)]
    assert summary.count("With 2 common seeds no test can decide: these 2 comparisons take at least 7.") == 1
    for other in ("six", "fewer than 6", "Only 2 seeds", "at least 8", "at least 6"):
        assert other not in text


def test_the_axis_ends_where_accuracies_do(tmp_path):
    """The band of two seeds reached from -20 % to 140 %."""
    apart = [[0.3, 0.5, 0.6, 0.9], [0.6, 0.8, 0.9, 0.97]]
    grid = write_grid(tmp_path / "two", ["random", "margin"], [0, 1], lambda _, seed: {"accuracies": apart[seed]})
    lines = analyse(read_results([grid]).experiments[0]).lines
    assert lines[0].curve[0][1].high > 1.4
    low, high = accuracy_range(lines)
    assert 0.2 < low < 0.3
    assert 0.97 < high < 1.05
    more = [*apart, [0.1, 0.2, 0.5, 0.99]]
    grid = write_grid(tmp_path / "three", ["random", "margin"], range(3), lambda _, seed: {"accuracies": more[seed]})
    low, high = accuracy_range(analyse(read_results([grid]).experiments[0]).lines)
    assert -0.06 < low < 0
    assert 1 < high < 1.06
    note = draw_all(analyse(read_results([tmp_path / "two"]).experiments[0]))[0].note
    assert note.startswith("Thick: mean over seeds (n = 2); thin: single seeds.")


def test_a_curve_that_lies_on_others_hides_none(tmp_path):
    gains = {"random": 0, "margin": 0.2, "entropy": 0.2, "badge": 0.2005, "coreset": 0.1}
    grid = write_grid(tmp_path / "grid", list(gains), [0], lambda name, _: {"accuracies": lifted(gains[name])})
    analysis = analyse(read_results([grid]).experiments[0])
    assert lines_under([line.curve for line in analysis.lines]) == [0, 2, 1, 0, 0]
    assert "drawn one inside the other" in draw_all(analysis)[0].note
    assert lines_under([analysis.lines[0].curve] * 9) == [3] * 6 + [2, 1, 0]


def test_a_table_on_a_narrow_screen_says_in_every_cell_what_it_is(built):
    page = (built / "report" / "index.html").read_text()
    tables = re.findall(r'<table class="stacks">.*?</table>', page, flags=re.S)
    assert len(tables) >= 3
    for cell in re.findall(r"<td[^>]*>[^<]", "".join(tables)):
        assert "data-label=" in cell, cell


def test_a_difference_that_is_none_is_not_claimed(tmp_path):
    def cells(strategy, seed):
        return {"accuracies": lifted(0.01 * (-1) ** seed * seed) if strategy == "entropy" else START}

    page = words_of(write_grid(tmp_path / "grid", ["random", "entropy"], range(8), cells))
    assert "No difference from random could be shown for entropy" in page
    assert "Seeds without any difference are left out of a test: entropy and random (1)." in page
    assert "better than" not in page


def test_a_verdict_needs_a_winner(tmp_path):
    family = analyse(read_results([compared(tmp_path, ["random", "entropy"], 5)]).experiments[0]).all_pairs
    with pytest.raises(ValueError, match="decided"):
        wording.verdict(family.tests[0])


def test_without_random_or_a_second_strategy_the_page_says_so(tmp_path):
    assert "No run of random is finished" in words_of(compared(tmp_path, ["margin", "entropy"], 2))
    alone = page_of(write_run(tmp_path / "run", "entropy", 0, START))
    assert "nothing is compared" in alone
    assert "A single seed (n = 1): no band can be given." in alone


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """One grid with a failed cell and a balanced initial set at one seed, and its report."""
    data = load("digits")
    balanced = [int(np.flatnonzero(data.train.labels == digit)[0]) for digit in range(10)]
    strategies = ["random", "entropy", "mlmoc"]

    def cells(strategy, seed):
        state = "failed" if (strategy, seed) == ("mlmoc", 2) else "finished"
        accuracies = [*START, *[0.6 + 0.01 * seed] * 8] if strategy == "random" else [*START, *[0.65] * 8]
        return {"accuracies": accuracies, "state": state, "initial": balanced if seed == 0 else None}

    grid = write_grid(tmp_path_factory.mktemp("built") / "grid", strategies, range(3), cells, {"query.size": 14})
    write_comparison([grid])
    return grid


def test_the_page_needs_nothing_else(built):
    page = (built / "report" / "index.html").read_text()
    assert not re.search(r"https?:|<script|<link|@import|url\(", page)
    references = set(re.findall(r'(?:src|href)="(?!data:)([^"]*)"', page))
    files = {path.name for path in (built / "report").iterdir()}
    assert references == files - {"index.html"}
    figures = {name.rpartition(".")[0].removeprefix("digits-mlp-") for name in files if name.endswith(".svg")}
    assert figures == {"learning-curves", "difference-from-random", "selection-time", "class-balance"}
    assert {f"digits-mlp-{figure}.{kind}" for figure in figures for kind in ("svg", "png")} < files


def test_every_picture_has_words(built):
    page = (built / "report" / "index.html").read_text()
    images = re.findall(r"<img [^>]*>", page)
    assert len(images) > 4
    for image in images:
        assert re.search(r' alt="[^"]{5,}"', image), image[:80]
    assert 'alt="Test accuracy over 12 to ' in page
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["random"], 1),
        (["random", "margin", "badge", "entropy"], 2),
        (["a"] * 9, 3),
        (["x" * 27, "random"], 2),
        (["x" * 99], 1),
    ],
)
def test_a_legend_has_as_many_columns_as_fit(names, columns):
    assert _legend_columns(names) == columns


def test_panels_of_long_names_stay_apart():
    names = ("margin-influence-greedy", "margin-influence-sequential", "least-confidence")
    titles = [_panel_title(name, 16).replace("\u00a0", " ") for name in names]
    assert titles == [
        "margin-influence-greedy\n(n = 16)",
        "margin-influence-\nsequential (n = 16)",
        "least-confidence\n(n = 16)",
    ]
    assert _panel_title("somebody.elses.module:WithALongClassName", 8).count("\n") == 1


def test_embedded_figures_are_those_beside(built):
    page = (built / "report" / "index.html").read_text()
    embedded = {base64.b64decode(text) for text in re.findall(r"data:image/svg\+xml;base64,([^\"]*)", page)}
    beside = {path.read_bytes() for path in (built / "report").glob("*.svg")}
    assert embedded == beside
    for svg in beside:
        assert ElementTree.fromstring(svg).tag.endswith("svg")
    for png in (built / "report").glob("*.png"):
        with Image.open(png) as image:
            assert image.width > 900


def test_what_was_left_out_is_listed_with_its_reason(built):
    text = visible((built / "report" / "index.html").read_text())
    assert "1 run took no part. Rule:" in text
    assert "mlmoc-seed2 failed in cycle 10: the loss diverged" in text


def test_a_balanced_start_is_warned_about(built):
    text = visible((built / "report" / "index.html").read_text())
    assert "exactly as many samples of each of the 10 classes at seed 0. A uniform draw does that" in text


def test_strategies_that_started_apart_are_warned_about(tmp_path):
    runs = [write_run(tmp_path / name, name, 0, START) for name in ("random", "entropy")]
    runs.append(write_run(tmp_path / "margin", "margin", 0, START, initial=[*range(12)]))
    assert "At seed 0 the strategies did not start from the same labelled set" in words_of(*runs)


def test_the_grid_s_own_check_is_shown(tmp_path):
    grid = write_grid(
        tmp_path / "grid", ["random", "entropy"], [0], lambda name, _: {"accuracies": START, "initial": [*range(12)]}
    )
    assert "Not the same for all strategies" not in words_of(grid)
    write_run(tmp_path / "other", "entropy", 0, START, initial=[*range(1, 13)])
    (tmp_path / "other" / "events.jsonl").replace(grid / "entropy-seed0" / "events.jsonl")
    assert "the initial set is not that of" in words_of(grid)


def test_the_sheet_is_capped_and_says_so(built):
    sheet = make_sheet(read_results([built]).experiments[0])
    assert sheet.seed == 0
    assert list(sheet.strips) == ["initial set", "random", "entropy", "mlmoc"]
    strips = sheet.strips["entropy"]
    assert len(strips) == MOST_CYCLES
    assert strips[0].caption.startswith("cycle 0,")
    assert strips[-1].caption.startswith("cycle 9,")


def test_a_strip_shows_the_first_picks_and_counts_the_rest(tmp_path):
    run = write_run(tmp_path / "run", "random", 0, START, initial=[*range(20)], options={"query.n_init": 20})
    (strip,) = make_sheet(read_results([run]).experiments[0]).strips["initial set"]
    labels = load("digits").train.labels
    assert [pick.label for pick in strip.picks] == [str(labels[i]) for i in range(MOST_PICKS)]
    assert strip.left_out == 20 - MOST_PICKS


@pytest.mark.parametrize(
    ("shape", "mode", "size"), [((1, 8, 8), "L", 32), ((3, 32, 32), "RGB", 32), ((3, 90, 60), "RGB", 48)]
)
def test_thumbnails_show_the_image(shape, mode, size):
    image = np.random.default_rng(0).integers(0, 17, shape).astype(np.uint8)
    picture = Image.open(io.BytesIO(base64.b64decode(png_uri(image, 16.0).partition(",")[2])))
    assert (picture.mode, max(picture.size)) == (mode, size)
    if shape == (1, 8, 8):
        wanted = np.minimum(255, np.round(image[0] * (255 / 16)))
        np.testing.assert_array_equal(np.asarray(picture)[::4, ::4], wanted)


@pytest.mark.parametrize("root", ["empty", "wrong"])
def test_images_that_are_not_there_are_said_to_be_missing(tmp_path, root, monkeypatch):
    options = {"data.name": "mnist", "data.root": str(tmp_path / root)}
    run = write_run(tmp_path / "run", "random", 0, START, options={} if root == "wrong" else options)
    if root == "wrong":
        monkeypatch.setattr("trainer.data.DataSet.fingerprint", lambda self: "0" * 64)
    page = page_of(run)
    assert "The picks are not shown" in page
    assert "data:image/png" not in page


def test_hostile_names_are_text(tmp_path):
    names = [f'<script>alert("{number}")</script> $x$' for number in range(10)]
    page = page_of(write_run(tmp_path / "latin", "random", 0, START, classes=names))
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#34;" in page


def test_names_that_the_font_lacks_become_numbers(tmp_path):
    run = write_run(tmp_path / "run", "random", 0, START, classes=["名前", "$x$", *"23456789"])
    assert _tick_labels(read_results([run]).experiments[0].runs[0].classes) == [*"0123456789"]
    assert _tick_labels(["$x$", "a name that is rather long"]) == [r"\$x\$", "a name that is …"]
    draw_all(analyse(read_results([run]).experiments[0]))


def test_the_same_runs_give_the_same_bytes_and_nothing_else_is_left(built, tmp_path):
    before = {path.name: path.read_bytes() for path in (built / "report").iterdir()}
    write_comparison([built])
    assert {path.name: path.read_bytes() for path in (built / "report").iterdir()} == before


def test_strategies_look_different():
    names = ["random", *(f"strategy-{number}" for number in range(14))]
    styles = [tuple(style_of(names, name, "random").values()) for name in names]
    assert len(set(styles)) == len(names)
    assert all(contrast(color, "#ffffff") > 2 for color in OKABE_ITO)


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_the_words_stand_out(built, scheme):
    page = (built / "report" / "index.html").read_text()
    colors = dict(re.findall(r"--([a-z-]+): (#\w{6})", re.findall(r":root \{([^}]*)\}", page)[scheme]))
    for paper in ("paper", "card", "warn", "good", "bad"):
        assert contrast(colors["ink"], colors[paper]) >= 7
    for soft in ("soft", "link"):
        assert min(contrast(colors[soft], colors[paper]) for paper in ("paper", "card")) >= 4.5


def test_many_classes_are_drawn_without_names(tmp_path):
    run = write_run(tmp_path / "run", "random", 0, START, classes=[f"class {number}" for number in range(100)],
                    test_class_accuracy=[0.5] * 100)  # fmt: skip
    assert len(draw_all(analyse(read_results([run]).experiments[0]))) == 3


CONFIGURED = {
    "model.name": "mlp",
    "model.options": {"width": 16},
    "query.n_init": 12,
    "query.strategy": "margin",
    "data.root": "some where",
    "train.loss": "cross-entropy",
    "train.max_lr": 0.125,
    "kernel.memory_budget": "2GiB",
    "start": "cold",
    "seed": 3,
}


PEOPLE = {
    "data.name": "folder:photos",
    "data.classes": ["cat", "dog, or wolf", "3"],
    "annotator.name": "files",
    "query.mode": "greedy",
}


@pytest.mark.parametrize("options", [{}, CONFIGURED, PEOPLE, {"annotator.name": "simulated", "annotator.noise": 0.1}])
def test_the_command_leads_to_the_same_configuration(options):
    config = load_config(options=options)
    arguments = ["--strategy", config.query.strategy, "--seed", str(config.seed), *options_of(config)]
    given = cli.run.make_context("run", arguments).params
    again = cli.config_from(
        given.pop("config_file"), given.pop("sets"), {k: v for k, v in given.items() if k not in ("out", "trust_code")}
    )
    assert again == config


def test_what_an_annotator_does_not_have_is_not_said():
    arguments = options_of(load_config(options=PEOPLE))
    assert "files" in arguments
    assert not [argument for argument in arguments if "noise" in argument]


def test_commands_are_as_few_as_possible(built, tmp_path):
    compare, report = commands([built])
    assert compare.startswith(
        "pipeline compare --strategies random,entropy,mlmoc --seeds 0-2 --dataset digits --model mlp "
    )
    assert report == f"pipeline report {built}"
    runs = [write_run(tmp_path / f"{name}{s}", name, s, START) for name in ("random", "margin") for s in (0, 1)]
    assert commands(runs)[0].startswith("pipeline compare --strategies random,margin --seeds 0-1 ")
    assert [line.split(" --")[1] for line in commands(runs[:3])[:-1]] == [
        "strategy random",
        "strategy random",
        "strategy margin",
    ]


def test_seeds_are_spelled_as_they_are_read():
    assert spell_seeds([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"


def invoke(*arguments):
    return CliRunner().invoke(cli.cli, ["report", *map(str, arguments)])


def test_the_command(built, tmp_path):
    result = invoke(built, "--out", tmp_path / "deep" / "out")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"report {tmp_path / 'deep' / 'out' / 'index.html'}\n"


def test_the_command_refuses_what_it_cannot_report(built, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    unfinished = write_run(tmp_path / "run", "random", 0, START, state="unfinished")
    for arguments, reason in [
        ((tmp_path / "empty",), "is neither"),
        ((tmp_path / "nowhere",), "is neither"),
        ((unfinished,), "unfinished: 2 of 3 cycles"),
        ((built, "--out", tmp_path / "file"), "is a file"),
        ((built, "--out", tmp_path / "file" / "report"), "file is a file"),
        ((built, "--out", "/proc/nowhere/report"), "cannot write to /proc/nowhere/report"),
    ]:
        result = invoke(*arguments)
        assert result.exit_code == 2
        assert reason in result.stderr
        assert result.stderr.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"
    assert not (unfinished / "report").exists()


def test_a_real_comparison(start, go_on, tmp_path):
    runs = [start(name, query__strategy=name, cycles=2) for name in ("random", "margin")]
    for run in runs:
        go_on(run)
    page = visible(page_of(*runs, out=tmp_path / "out"))
    assert "2 strategies (random, margin), 1 seed each, 12 to 16 labels." in page
    assert "Every run took part." in page
    assert "did not start from" not in page
    assert (runs[0] / "report" / "learning_curve.png").exists()


def test_the_memory_of_a_grids_cells_stands_beside_their_accuracy(tmp_path):
    grid = compared(tmp_path, ["random", "margin"], 2)
    assert "peak memory" not in words_of(grid)
    for cell, peak in (("random-seed0", 3 * 2**30), ("random-seed0", 2**30), ("random-seed1", 2**30)):
        append_attempt(grid, Attempt(cell, 0, "", peak_memory=peak))
    page = words_of(grid)
    assert page.count('<th scope="col">peak memory</th>') == 1
    row = page[page.index('<th scope="row">random</th>') :].partition("</tr>")[0]
    assert row.endswith('<td class="number" data-label="peak memory">3.00 GiB</td>')
    row = page[page.index('<th scope="row">margin</th>') :].partition("</tr>")[0]
    assert row.endswith('<td class="number" data-label="peak memory">–</td>')
