"""What a report is called and begins with."""

import html
import re

import pytest
from report_cases import write_run

from pipeline.report.page import write_comparison

PAGE = {"annotator.name": "page", "cycles": 1}
COMPARES = ("That a strategy did better or worse", "The slowest to select", "without that baseline", "At one seed all")


def words(page):
    text = re.sub("<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", text)).split())


@pytest.fixture
def labelled(tmp_path, monkeypatch):
    """A run that people labelled: twelve labels at random, and four that a network asked for."""

    def ask(log, data, cycle, ids):
        log.append("query", cycle=cycle, ids=ids, scores=[0.0] * len(ids))
        labels = [[i, int(data.train.labels[i])] for i in ids]
        log.append("label", cycle=cycle, labels=labels, annotator="anna")

    monkeypatch.setattr("report_cases.ask", ask)
    return write_run(tmp_path / "run", "margin-influence-sequential", 0, [0.5, 0.6], options=PAGE)


def test_a_labelled_run_is_no_comparison(labelled):
    page = write_comparison([labelled]).read_text()
    assert "<h1>What was labelled</h1>" in page
    assert "<title>What was labelled: digits, mlp</title>" in page
    said = words(page)
    assert (
        "Labels by anna (16). 2 networks one after another learned from 12 to 16 labels. What they asked was chosen by "
        "margin-influence-sequential."
    ) in said
    for part in (*COMPARES, "Comparison", "Only 1 seed"):
        assert part not in said, part


def test_one_strategy_is_no_comparison_either(tmp_path):
    page = write_comparison([write_run(tmp_path / "run", "mlmoc", 0, [0.5, 0.6])]).read_text()
    assert "<h1>One query strategy</h1>" in page
    said = words(page)
    assert "The slowest to select" not in said
    assert "That a strategy did better or worse" not in said


def test_a_comparison_is_one(tmp_path):
    runs = [write_run(tmp_path / name, name, 0, [0.5, 0.6]) for name in ("mlmoc", "entropy")]
    page = write_comparison(runs).read_text()
    assert "<h1>Comparison of query strategies</h1>" in page
    said = words(page)
    for part in COMPARES:
        assert part in said, part


def test_names_of_classes_are_not_broken_under_thumbnails(labelled):
    page = write_comparison([labelled]).read_text()
    [rule] = re.findall(r"\.strip li \{ min-width[^}]*\}", page)
    assert "white-space: nowrap" in rule
    assert "text-overflow: ellipsis" in rule
