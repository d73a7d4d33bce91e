"""The report's section on who labelled."""

import html
import re

import pytest
from report_cases import write_run

from pipeline.report.labellers import MOST_CLASSES, labellers_of
from pipeline.report.page import write_comparison
from pipeline.run.events import EventLog

CLASSES = ("cat", "dog", "cow")


def query(*ids):
    return {"event": "query", "cycle": -1, "ids": [*ids], "scores": [0.0] * len(ids)}


def label(labels, who, seconds=None, cycle=-1):
    times = {} if seconds is None else {"seconds": seconds}
    return {"event": "label", "cycle": cycle, "labels": labels, "annotator": who, **times}


EVENTS = [
    query(*range(8)),
    label([[0, 0], [1, 1], [2, 2], [3, 0]], "anna", [1.0, 2.0, 9.0, 4.0]),
    label([[0, 0], [1, 1], [2, 1]], "ben"),
    {"event": "skip", "cycle": -1, "ids": [4, 5], "reasons": ["", ""], "annotator": "ben"},
    {"event": "undo", "cycle": -1, "ids": [5], "annotator": "ben"},
    label([[6, 2]], "given"),
]


def test_what_each_said():
    who = labellers_of(EVENTS, CLASSES)
    shown = [(p.name, p.labels, p.skips, p.undone, p.differing, p.seconds) for p in who.people]
    assert shown == [("anna", 4, 0, 0, 1, 3.0), ("ben", 3, 1, 1, 1, None), ("given", 1, 0, 0, 0, None)]
    assert who.disputed == 1
    [confusion] = who.confusions
    assert (confusion.classes, confusion.left_out) == (CLASSES, 0)
    assert confusion.counts == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
    assert confusion.agreement.kappa == pytest.approx(0.5)  # p_o = 2/3, p_e = (1·1 + 1·2 + 1·0)/9 = 1/3


def test_simulated_annotators_need_no_section():
    assert labellers_of([query(0, 1), label([[0, 0]], "simulated"), label([[1, 0]], "simulated 3")], CLASSES) is None
    assert labellers_of([query(0), {"event": "label", "cycle": -1, "labels": [[0, 0]]}], CLASSES) is None
    assert labellers_of([query(0, 1), label([[0, 0]], "simulated"), label([[1, 0]], "anna")], CLASSES) is not None


def test_of_many_classes_those_that_differ_most_are_shown():
    names = [str(c) for c in range(30)]
    same = [(c, c) for c in range(15) for _ in range(5)]  # often seen, never confused
    pairs = [(i, *said) for i, said in enumerate([*same, (20, 29), (20, 29)])]
    ids = [i for i, *_ in pairs]
    events = [query(*ids), label([[i, a] for i, a, _ in pairs], "anna"), label([[i, b] for i, _, b in pairs], "ben")]
    [confusion] = labellers_of(events, names).confusions
    assert len(confusion.classes) == MOST_CLASSES
    assert {"20", "29"} < set(confusion.classes)
    assert confusion.left_out == 5 * (15 - (MOST_CLASSES - 2))
    assert confusion.counts[confusion.classes.index("20")][confusion.classes.index("29")] == 2


def words(page):
    section = page[page.index("<h3>Who labelled") : page.index("<h3>What was picked")]
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", section)).split())


def page_of(path, events):
    write_run(path, "entropy", 0, [0.5, 0.6])
    log = EventLog(path / "events.jsonl")
    asked = {sample for event in log.events if event["event"] == "query" for sample in event["ids"]}
    sample, other = sorted({*range(100)} - asked)[:2]
    log.append("query", cycle=1, ids=[sample, other], scores=[0.0, 0.0])
    for event in events(sample, other):
        log.append(**event)
    log.close()
    return write_comparison([path]).read_text()


def test_the_page_says_who_labelled(tmp_path):
    def events(sample, other):
        yield label([[sample, 3], [other, 4]], "anna <b>", [2.0, 3.0], cycle=1)
        yield label([[sample, 3], [other, 5]], "ben", cycle=1)

    page = page_of(tmp_path / "run", events)
    assert "anna <b>" not in page
    said = words(page)
    assert "anna <b> 2 0 0 1 2.5" in said
    assert "ben 2 0 0 1 –" in said
    assert "anna <b>, ben 2 1 0.33" in said  # p_o = 1/2, p_e = 1/4
    assert "Rows: what anna <b> said; columns: what ben said of the same samples" in said


def test_one_class_alone_has_no_agreement(tmp_path):
    def events(sample, other):
        yield label([[sample, 3], [other, 3]], "anna", cycle=1)
        yield label([[sample, 3], [other, 3]], "ben", cycle=1)

    said = words(page_of(tmp_path / "run", events))
    assert "anna, ben 2 2 not defined: both gave one class alone" in said
    assert "Rows: what" not in said


def test_a_run_that_nobody_but_the_data_answered_has_no_section(tmp_path):
    assert "Who labelled" not in page_of(tmp_path / "run", lambda sample, other: ())
