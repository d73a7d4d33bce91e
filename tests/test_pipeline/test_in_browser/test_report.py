"""The page that compares strategies, on a desk and in a hand: nothing of it is cut off."""

import pytest
from report_cases import write_grid

from pipeline.report.page import write_comparison
from pipeline.sweep.estimate import append_attempt
from pipeline.sweep.process import Attempt

STRATEGIES = ["random", "margin-influence-sequential", "margin", "entropy", "least-confidence"]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    def cells(strategy, seed):
        gain = 0.02 * STRATEGIES.index(strategy)
        return {"accuracies": [0.3 + 0.2 * seed, *(min(1.0, 0.5 + 0.2 * seed + gain + step) for step in (0, 0.1))]}

    grid = write_grid(tmp_path_factory.mktemp("report") / "grid", STRATEGIES, [0, 1], cells)
    append_attempt(grid, Attempt("random-seed0", 0, "", peak_memory=3 * 2**30))
    return write_comparison([grid])


@pytest.mark.parametrize("width", [1280, 400])
def test_no_table_and_no_picture_is_cut(profile, report, width):
    page = profile.new_page()
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = "[...document.querySelectorAll('.scroll')].filter((box) => box.scrollWidth > box.clientWidth)"
    assert page.evaluate(f"{wide}.map((box) => box.ariaLabel)") == []
    beyond = "(one) => one.getBoundingClientRect().right > innerWidth"
    cut = f"[...document.querySelectorAll('td, th, img.chart')].filter({beyond})"
    assert page.evaluate(f"{cut}.length") == 0


def test_in_a_hand_every_number_says_what_it_is(profile, report):
    page = profile.new_page()
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(report.as_uri())
    assert not page.locator("thead").first.is_visible()
    labels = (
        "[...document.querySelectorAll('table tbody tr')].map((row) => [...row.querySelectorAll('td')].map("
        "(cell) => getComputedStyle(cell, '::before').content))"
    )
    shown = page.evaluate(labels)[1]
    assert shown[1] == '"AUBC, %"'
    assert '"labels to random\'s final accuracy"' in shown
