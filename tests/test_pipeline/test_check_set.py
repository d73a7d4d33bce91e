"""The check set: drawn at random, asked between other questions, never trained on, and what it says of accuracy."""

import threading
from itertools import pairwise

import numpy as np
import pytest
from session_cases import LOOKS_AHEAD, ThreadNetwork, ask, make, network, opened, say, shade, squares, until

from pipeline.errors import PipelineError
from pipeline.run.check_set import check_set_of, unpredicted
from pipeline.run.pool import Pool
from pipeline.run.rundir import RunDirectory, read_config, read_events
from pipeline.run.status import read_status
from pipeline.session import first
from pipeline.session.checks import require_room
from pipeline.verify.run import verify


def log(*events):
    return [{"event": "start"}, *events]


DRAWN = {"event": "check_drawn", "cycle": -1, "ids": [7, 8, 9]}


def query(*ids, round_=-1, **more):
    return {"event": "query", "cycle": round_, "ids": list(ids), "scores": [0.0] * len(ids), "network": None, **more}


def label(*pairs, round_=-1, who="anna"):
    return {"event": "label", "cycle": round_, "labels": [list(pair) for pair in pairs], "annotator": who}


def test_labels_of_the_check_set_are_no_labels_of_any_round():
    events = log(DRAWN, query(1, 2), query(7, check=True), label((1, 0), (2, 1)), label((7, 1)))
    pool = Pool(10, events)
    assert pool.current == {1: 0, 2: 1}
    assert pool.checked == {7: 1}
    assert pool.known() == pool.answers(-1) == {1: 0, 2: 1}
    pool.apply({"event": "round_closed", "cycle": -1, "answered": 2, "skipped": [], "left": []})
    assert pool.labelled(0).ids.tolist() == [1, 2]
    assert sorted(pool.candidates(0, 10, np.random.default_rng(0)).tolist()) == [0, 3, 4, 5, 6]


def test_an_undone_label_of_the_check_set_is_asked_again():
    undo = {"event": "undo", "cycle": -1, "ids": [7], "annotator": "anna"}
    pool = Pool(10, log(DRAWN, query(7, check=True), label((7, 1)), undo))
    assert pool.checked == {}
    assert list(pool.open_samples) == [7]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (query(8), "sample 8 of the check set was chosen to be trained on"),
        (query(3, check=True), "sample 3 is of no check set"),
        ({"event": "check_drawn", "cycle": -1, "ids": [1]}, "sample 1 was drawn for the check set after"),
        ({"event": "check_drawn", "cycle": -1, "ids": [9]}, "sample 9 was drawn for the check set after"),
    ],
)
def test_a_log_that_mixes_the_two_is_refused(event, message):
    with pytest.raises(PipelineError, match=message):
        Pool(10, [*log(DRAWN, query(1)), event])


def test_what_a_log_says_of_networks_by_hand():
    predicted = {"event": "check_predicted", "cycle": 0, "labels": [[7, 1], [8, 0], [9, 0]]}
    closed = {"event": "round_closed", "cycle": -1, "answered": 2, "skipped": [], "left": []}
    skip = {"event": "skip", "cycle": 0, "ids": [9], "reasons": [""], "annotator": "anna"}
    asked = [query(7, check=True), query(1, 2), label((1, 0), (2, 1), (7, 1)), closed]
    later = [query(8, 9, round_=0, check=True), label((8, 1), round_=0), skip]
    found = check_set_of(log(DRAWN, *asked, predicted, *later))
    assert found[:4] == (3, 2, 1, 0)
    assert found.left == 0
    assert found.measured == ((0, 2, 1, 2),)  # cycle, labels, right, images: the skipped one is of neither
    assert found.told == "2 of 3 images labelled, 1 skipped, which accuracy leaves out"
    assert check_set_of(log(query(1))) is None
    assert unpredicted(log(predicted), 0, [7, 8, 10]) == {10}
    assert unpredicted(log(predicted), 1, [7]) == {7}


@pytest.mark.parametrize(("wanted", "drawn", "free"), [(None, 0, 0), (5, 0, 10), (8, 3, 10), (3, 3, 0)])
def test_there_is_room(wanted, drawn, free):
    require_room(wanted, drawn, free)


@pytest.mark.parametrize(("wanted", "drawn", "free"), [(6, 0, 10), (9, 3, 10), (4, 3, 0)])
def test_there_is_no_room(wanted, drawn, free):
    with pytest.raises(PipelineError, match="--check: expected at most"):
        require_room(wanted, drawn, free)


@pytest.mark.parametrize("strategy", [{}, LOOKS_AHEAD], ids=["margin", "look-ahead"])
def test_a_session_asks_about_it_and_never_learns_from_it(tmp_path, strategy):
    path = make(tmp_path / "run", annotator__check=6, **squares(tmp_path, count=40), **strategy)
    with opened(path) as session:
        say(session, 6)  # four to learn from, two to check
        until(session, network(0))
        say(session, 9)
        state = until(session, network(1))
        assert state["accuracy"]["of"] == "check"
        assert state["accuracy"]["images"] == state["check"]["answered"] >= 2
        assert state["accuracy"]["low"] < state["accuracy"]["value"] <= state["accuracy"]["high"] == 1.0
        assert state["advice"]["verdict"] == "cannot tell yet"
        assert len(state["curve"]) >= 2
        assert "of 6 images labelled" in state["check"]["told"]
    events = read_events(path)
    pool = Pool(40, events)
    assert len(pool.check_set) == 6
    asked = [("check" in event, event["ids"][0]) for event in events if event["event"] == "query"]
    assert [check for check, _ in asked[:6]] == [False, False, True, False, False, True]
    assert not any(a and b for (a, _), (b, _) in pairwise(asked))
    for cycle in (0, 1):
        assert not set(pool.labelled(cycle).ids.tolist()) & set(pool.check_set)
    predicted = {event["cycle"]: len(event["labels"]) for event in events if event["event"] == "check_predicted"}
    assert {0, 1} <= predicted.keys()
    assert set(predicted.values()) == {6}
    assert verify(path).faults == []
    lines = dict(read_status(path, read_config(path), events).lines)
    with RunDirectory(path, lambda line: None) as run:  # what no weights say is found
        wrong = [[sample, 1 - label] for event in events if event["event"] == "check_predicted" and not event["cycle"]
                 for sample, label in event["labels"]]  # fmt: skip
        run.append("check_predicted", cycle=0, labels=wrong)
    [fault] = verify(path).faults
    assert "takes the check set for, but its weights take 6 of 6 images for something else" in str(fault)
    assert f"{len(pool.current)}, {len(pool.checked)} more of the check set" in lines["labels"]
    assert "of 6 images labelled" in lines["check set"]
    assert "accuracy" in lines["check set"]


def test_the_first_images_are_typical_ones_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(first, "PATIENCE", 60)  # on a machine that has other things to do
    path = make(
        tmp_path / "run", annotator__check=12, **squares(tmp_path) | {"query__n_init": 8, "query__initial": "typiclust"}
    )
    reasons = []
    with opened(path) as session:
        while len(reasons) < 8:
            question = ask(session)
            reasons += [question["why"]] if question["why"] != "check" else []
            session.answer("anna", question["sample"], shade(question["sample"]), 1.0)
    assert reasons == ["typical"] * 8


def test_it_is_spread_while_the_first_images_are_chosen(tmp_path, monkeypatch):
    path = make(tmp_path / "run", annotator__check=9, **squares(tmp_path) | {"query__initial": "typiclust"})
    chosen, choose = threading.Event(), first.first_samples
    monkeypatch.setattr(first, "first_samples", lambda *given: chosen.wait() and choose(*given))
    monkeypatch.setattr(first, "PATIENCE", 60)
    reasons = []
    with opened(path) as session:
        while (question := session.question("anna"))["kind"] != "wait":
            reasons.append(question["why"])
            session.answer("anna", question["sample"], shade(question["sample"]), 1.0)
        assert reasons == ["check"]  # one at once, and no second one
        chosen.set()
        while len(reasons) < 6:
            question = ask(session)
            reasons.append(question["why"])
            session.answer("anna", question["sample"], shade(question["sample"]), 1.0)
    assert reasons == ["check", *["typical"] * 4, "check"]


@pytest.mark.parametrize("opens", [True, False])
def test_the_last_accuracy_is_there_before_the_network_is(tmp_path, opens):
    class Unopened(ThreadNetwork):
        """A network whose opening has no end."""

        def begin(self, order):
            self.order = order

    path = make(tmp_path / "run", annotator__check=6, **squares(tmp_path, count=40))
    with opened(path) as session:
        say(session, 6)
        before = until(session, network(0))["accuracy"]
    with opened(path, network=ThreadNetwork if opens else Unopened) as session:
        state = until(session, network(0)) if opens else session.state("anna")
    assert (state["network"] is not None) == opens
    assert state["accuracy"] == before
    assert before["images"] >= 2


@pytest.mark.parametrize("why", ["typical", "check"])
def test_what_was_left_open_is_still_there_for_what_it_was_asked_for(tmp_path, why):
    path = make(tmp_path / "run", annotator__check=3, **squares(tmp_path) | {"query__initial": "typiclust"})
    with opened(path) as session:
        say(session)
        while (left := ask(session))["why"] != why:
            session.answer("anna", left["sample"], shade(left["sample"]), 1.0)
        before = session.undo("anna", None)
        again = session.answer("anna", before["sample"], shade(before["sample"]), 1.0)
        assert (again["sample"], again["why"]) == (left["sample"], why)
    with opened(path) as session:
        again = ask(session)
        assert (again["sample"], again["why"]) == (left["sample"], why)


def test_a_larger_check_set_is_drawn_when_a_run_goes_on(tmp_path):
    path = make(tmp_path / "run", annotator__check=2, **squares(tmp_path, count=40))
    with opened(path) as session:
        say(session, 6)
        until(session, network(0))
    config = read_config(path)
    larger = config.model_copy(update={"annotator": config.annotator.model_copy(update={"check": 5})})
    (path / "config.yaml").write_text(larger.to_yaml())
    with opened(path) as session:
        until(session, network(0))
        say(session, 4)
    events = read_events(path)
    drawn = [event["ids"] for event in events if event["event"] == "check_drawn"]
    assert [len(ids) for ids in drawn] == [2, 3]
    before = [s for e in events if e["seq"] < 12 and e["event"] == "query" for s in e["ids"]]
    assert not set(drawn[1]) & set(before)
    # the network that was there is asked about the new ones, too
    predicted = [event for event in events if event["event"] == "check_predicted" and event["cycle"] == 0]
    assert [len(event["labels"]) for event in predicted] == [2, 3]
    assert verify(path).faults == []


def test_it_counts_in_the_budget(tmp_path):
    path = make(tmp_path / "run", annotator__check=2, annotator__budget=5, **squares(tmp_path, count=40))
    with opened(path) as session:
        say(session, 5)
        assert session.question("anna")["reason"] == "budget"
        state = session.state("anna")
    pool = Pool(40, read_events(path))
    assert len(pool.checked) + len(pool.current) == 5
    assert state["labelled"] == 5  # as the page counts what is left
    assert state["check"]["answered"] == len(pool.checked)


def test_a_skipped_check_image_is_reported(tmp_path):
    path = make(tmp_path / "run", annotator__check=2, **squares(tmp_path, count=40))
    with opened(path) as session:
        while (question := ask(session))["why"] != "check":
            session.answer("anna", question["sample"], shade(question["sample"]), 1.0)
        session.skip("anna", question["sample"], "blurred", 1.0)
        assert "1 skipped, which accuracy leaves out" in session.state("anna")["check"]["told"]


def test_without_one_nothing_is_claimed(tmp_path):
    path = make(tmp_path / "run", **squares(tmp_path))
    with opened(path) as session:
        say(session, 4)
        state = until(session, network(0))
        assert state["accuracy"] is None
        assert state["check"] is None
        assert state["advice"] is None
        assert "--check 60" in state["how_to_measure"]


def test_too_large_a_check_set_is_refused_before_anything_is_drawn(tmp_path):
    path = make(tmp_path / "run", annotator__check=20, **squares(tmp_path))
    with pytest.raises(PipelineError, match="--check: expected at most 12, half of the 24"), opened(path):
        pass
    assert not [event for event in read_events(path) if event["event"] == "check_drawn"]
