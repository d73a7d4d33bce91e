"""A labelling session: everything through the log, a network that asks, another in the making, and no waiting."""

from contextlib import suppress

import numpy as np
import pytest
from PIL import Image
from session_cases import LOOKS_AHEAD, answer, ask, make, network, opened, squares, truth, until

from pipeline.run.context import open_context
from pipeline.run.pool import Pool
from pipeline.run.rundir import read_config, read_events
from pipeline.run.stages.train import read_summary
from pipeline.session.desk import DeskError
from pipeline.session.state import notes_for_people, notes_of


def kinds(path, *names):
    return [event for event in read_events(path) if event["event"] in names]


def test_an_answer_is_in_the_log_before_the_next_question(tmp_path):
    path = make(tmp_path / "run", query__n_init=50)
    with opened(path) as session:
        question = ask(session)
        assert question["why"] == "random"
        assert question["asked_by"] is None
        assert kinds(path, "query")[-1]["ids"] == [question["sample"]]  # asked for in the log before anybody sees it
        shown = session.answer("anna", question["sample"], truth(session, question["sample"]), 2.5)
        [label] = kinds(path, "label")
        assert label["labels"][0][0] == question["sample"]
        assert (label["annotator"], label["seconds"]) == ("anna", [2.5])
        assert "T" in label["time"][0]
        assert shown["sample"] != question["sample"]
        assert session.question("anna") == shown  # a reload shows the same again


def test_networks_take_turns_and_the_log_says_which_asked(tmp_path):
    path = make(tmp_path / "run", **LOOKS_AHEAD)
    with opened(path) as session:
        answer(session, 12)
        answer(session, 2)  # while the first network is made: drawn at random, and nobody waits
        until(session, network(0))
        answer(session, 6)
        until(session, network(1))
        answer(session, 2)
    events = read_events(path)
    asked_by = [event["network"] for event in events if event["event"] == "query"]
    assert asked_by[:14] == [None] * 14
    assert 0 in asked_by
    assert asked_by[-1] >= 1
    trained = {}
    for event in events:
        if event["event"] == "stage_done" and event["stage"] == "train":
            trained[event["cycle"]] = read_summary(path / "cycles" / f"{event['cycle']:03d}" / "train")["n_labeled"]
    pool = Pool(1297, events)
    assert trained[0] == 12
    assert all(trained[cycle] == len(pool.labelled(cycle)) for cycle in trained)
    assert [event["event"] for event in events].count("round_closed") >= 2


def test_a_session_goes_on_where_it_was(tmp_path):
    path = make(tmp_path / "run")
    with opened(path) as session:
        answer(session, 12)
        until(session, network(0))
        answer(session, 2)
        before = ask(session)["sample"]
    events = read_events(path)
    with opened(path) as session:
        assert ask(session)["sample"] == before  # at once: it was asked and not answered
        until(session, network(0))
        answer(session, 3)
    after = read_events(path)
    assert after[: len(events)] == events
    assert not [event for event in after[len(events) :] if event["event"] in ("start", "stage_done")]  # nothing twice


def test_the_next_question_is_that_of_a_network_which_knows_the_answers(tmp_path):
    from linearize import LookAhead
    from migrator import load
    from pipeline.run.stages.score import read_scores
    from trainer.targets import one_hot

    path = make(tmp_path / "run", query__strategy="margin-lin-sequential", query__size=30)
    with opened(path) as session:
        answer(session, 12)
        until(session, network(0))
        asked = answer(session, 4)
        following = ask(session)["sample"]
        context = session.clerk.context
        labelled = session.clerk.pool.labelled(0)
    port = load(path / "cycles/000/migrate")
    candidates = read_scores(path / "cycles/000/score").candidates
    left = np.array([sample for sample in candidates if sample not in asked])
    known = np.array([*labelled.ids, *asked])
    Y = one_hot(context.data.labels("train", known), 10)
    X, pool = (context.images(ids) for ids in (known, left))
    fresh = LookAhead.fit(port.apply_fn, port.variables, X, Y, pool, ids=left)  # as if fitted with every answer
    assert fresh.query(1, "margin-lin", mode="sequential")[0] == following


def test_undo_and_correction(tmp_path):
    path = make(tmp_path / "run", query__n_init=50)
    with opened(path) as session:
        first, second = answer(session, 2)
        question = session.undo("anna", None)
        assert (question["sample"], question["why"]) == (second, "undo")
        wrong = next(name for name in session.clerk.classes if name != truth(session, second))
        session.answer("anna", second, wrong, 1.0)
        assert session.undo("anna", first)["sample"] == first
        session.skip("anna", first, "blurred", 1.0)
        state = session.state("anna")
        assert (state["labelled"], state["skipped"]) == (1, 1)
        history = session.history("anna", 5)["items"]
        assert [(item["sample"], item["said"]) for item in history] == [(first, None), (second, wrong)]
        with pytest.raises(DeskError, match="nothing of yours"):
            session.undo("ben", first)
    pool = Pool(1297, read_events(path))
    assert list(pool.known()) == [second]
    assert len(kinds(path, "undo")) == 2


def test_a_network_forgets_what_is_taken_back(tmp_path):
    path = make(tmp_path / "run", **LOOKS_AHEAD, query__size=30)
    with opened(path) as session:
        answer(session, 12)
        until(session, network(0))
        pending = ask(session)["sample"]
        asked = answer(session, 3)
        after = ask(session)["sample"]
        for sample in reversed(asked[1:]):
            session.undo("anna", sample)
        session.answer("anna", asked[1], truth(session, asked[1]), 1.0)
        session.answer("anna", asked[2], truth(session, asked[2]), 1.0)
        assert ask(session)["sample"] == after  # the same answers in the same order, so the same question
        assert pending == asked[0]


def test_repeated_and_contradicting_answers(tmp_path):
    path = make(tmp_path / "run", query__n_init=50)
    with opened(path) as session:
        [sample] = answer(session)
        events = len(read_events(path))
        session.answer("anna", sample, truth(session, sample), 1.0)  # from a second tab, or sent again
        assert len(kinds(path, "label")) == 1
        other = next(name for name in session.clerk.classes if name != truth(session, sample))
        with pytest.raises(DeskError, match="undo that first"):
            session.answer("anna", sample, other, 1.0)
        with pytest.raises(DeskError, match="undo that first"):
            session.skip("anna", sample, "", 1.0)
        unasked = next(n for n in range(100) if session.clerk.pool.asked_in(n) is None)
        for call in (session.answer, session.skip):
            with pytest.raises(DeskError, match="never asked") as refused:
                call("anna", unasked, "1", 1.0)
            assert refused.value.status == 404
        with pytest.raises(DeskError, match="expected one of") as refused:
            session.answer("anna", ask(session)["sample"], "a cat", 1.0)
        assert refused.value.status == 400
        assert len(read_events(path)) == events


def test_two_people_who_differ(tmp_path):
    path = make(tmp_path / "run", query__n_init=50)
    with opened(path) as session:
        [sample] = answer(session)
        true, other = truth(session, sample), next(n for n in session.clerk.classes if n != truth(session, sample))
        assert session.question("ben")["sample"] != ask(session)["sample"]  # nobody gets another's image
        session.answer("ben", sample, other, 1.0)
        state = session.state("anna")
        assert (state["disputed"], state["labelled"]) == (1, 0)
        answer(session)
        question = ask(session)
        assert (question["sample"], question["why"]) == (sample, "disputed")
        assert {(said["annotator"], said["label"]) for said in question["said"]} == {("anna", true), ("ben", other)}
        session.answer("anna", sample, true, 1.0)  # she insists: it stays as it is, and she is not asked for ever
        assert ask(session)["sample"] != sample
        question = ask(session, "carl")
        assert (question["sample"], question["why"]) == (sample, "disputed")
        session.answer("carl", sample, true, 1.0)
        state = session.state("anna")
        assert (state["disputed"], state["labelled"]) == (0, 2)


def test_whoever_differs_may_give_in(tmp_path):
    path = make(tmp_path / "run", query__n_init=50)
    with opened(path) as session:
        [sample] = answer(session)
        other = next(name for name in session.clerk.classes if name != truth(session, sample))
        session.answer("ben", sample, other, 1.0)
        answer(session)
        assert ask(session)["why"] == "disputed"
        session.answer("anna", sample, other, 1.0)
        assert session.state("anna")["disputed"] == 0
        assert session.clerk.pool.current[sample] == session.clerk.classes.index(other)


def test_everybody_is_asked_about_a_share(tmp_path):
    path = make(tmp_path / "run", query__n_init=50, annotator__overlap=0.5)
    with opened(path) as session:
        first = answer(session, 12)
        shared = []
        while (question := ask(session, "ben"))["why"] == "overlap":
            shared.append(question["sample"])
            session.answer("ben", shared[-1], truth(session, shared[-1]), 1.0)
        assert set(shared) < set(first)
        assert 2 <= len(shared) <= 10
        agreement = session.state("anna")["agreement"]
        assert (agreement["samples"], agreement["kappa"]) == (len(shared), 1.0)


def test_a_class_that_appears_late(tmp_path):
    path = make(tmp_path / "run", **LOOKS_AHEAD, query__size=3)
    with opened(path) as session:
        answer(session, 12)
        until(session, network(0))
        state = session.add_class("other")
        assert [each["name"] for each in state["classes"]][-1] == "other"
        with pytest.raises(DeskError, match="already"):
            session.add_class("other")
        sample = ask(session)["sample"]
        session.answer("anna", sample, "other", 1.0)
        assert ask(session)["kind"] == "question"  # the network that asks does not know the class
        answer(session, 2)
        until(session, network(1))
        answer(session, 2)
    with opened(path) as session:
        until(session, network(1))
        answer(session, 1)
        assert session.clerk.classes[-1] == "other"
    names = read_summary(path / "cycles/001/train")["classes"]
    assert names[-1] == "other"
    assert len(names) == 11


def test_a_grid(tmp_path):
    path = make(tmp_path / "run", query__size=30)
    with opened(path) as session:
        with pytest.raises(DeskError, match="no network yet"):
            session.grid("anna", "3", 8)
        answer(session, 12)
        until(session, network(0))
        name = max(session.state("anna")["classes"], key=lambda each: each["count"])["name"]
        grid = session.grid("anna", name, 6)
        items = [item["sample"] for item in grid["items"]]
        assert 1 <= len(items) <= 6
        [event] = [event for event in kinds(path, "query") if "grid" in event]
        assert event["ids"] == items
        assert [item["sample"] for item in session.grid("anna", name, 6)["items"]] == items  # a reload
        assert ask(session)["sample"] not in items
        wrong, right = items[:1], items[1:]
        with pytest.raises(DeskError, match="once"):
            session.confirm("anna", name, items, wrong, 4.0)
        session.confirm("anna", name, right, wrong, 4.0)
        assert set(right) <= set(session.clerk.pool.current)
        answer(session)
        assert ask(session)["sample"] == wrong[0]  # the wrong ones are asked one by one


def test_a_grid_that_nobody_confirms_comes_last(tmp_path):
    path = make(tmp_path / "run", query__size=30)
    with opened(path) as session:
        answer(session, 12)
        until(session, network(0))
        names = [each["name"] for each in session.state("anna")["classes"] if each["count"]]
        items = [item["sample"] for item in session.grid("anna", names[0], 6)["items"]]
    with opened(path) as session:
        until(session, network(0))
        assert ask(session)["sample"] not in items
        again = [item["sample"] for item in session.grid("anna", names[0], 6)["items"]]
        assert again[: len(items)] == items


def test_what_a_grid_asked_counts_once_it_is_answered(tmp_path):
    path = make(tmp_path / "run", query__size=30)
    with opened(path) as session:
        answer(session, 12)
        until(session, network(0))
        answer(session, 2)
        ask(session)

        def asked():
            return session.state("anna")["network"]["asked"]

        before, grid = asked(), None
        for name in session.clerk.classes:
            with suppress(DeskError):  # it takes nothing for that class
                grid = grid or session.grid("anna", name, 6)
        name, items = grid["label"], [item["sample"] for item in grid["items"]]
        assert asked() == before  # opened and left
        session.confirm("anna", name, items[1:], items[:1], 4.0)
        assert asked() == before + len(items) - 1
        session.skip("anna", items[0], "", None)
        assert asked() == before + len(items)


def test_what_a_person_may_take_back_is_said(tmp_path):
    with opened(make(tmp_path / "run", query__n_init=50)) as session:
        assert not session.state("anna")["said"]
        answer(session)
        assert session.state("anna")["said"]
        assert not session.state("ben")["said"]
        session.undo("anna", None)
        assert not session.state("anna")["said"]


def test_accuracy_that_is_not_measured_yet_is_told_from_none(tmp_path):
    with opened(make(tmp_path / "some", query__n_init=50)) as session:
        state = session.state("anna")
        assert (state["accuracy"], state["held_out"], state["how_to_measure"]) == (None, 500, None)
        session.clerk.products.curve = [(12, 0.5), (16, 0.75)]  # of networks that are opened again after a restart
        state = session.state("anna")
        assert (state["accuracy"]["value"], state["accuracy"]["labels"], state["accuracy"]["images"]) == (0.75, 16, 500)
    with opened(make(tmp_path / "none", **squares(tmp_path))) as session:
        state = session.state("anna")
        assert (state["accuracy"], state["held_out"]) == (None, 0)
        assert "x_test and y_test, or hold some" in state["how_to_measure"]


def test_people_are_told_what_they_should_know_and_not_what_they_came_for(tmp_path):
    for number in range(6):
        path = tmp_path / "photos" / ("none" if number == 5 else "") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 40 * number, np.uint8)).save(path)
    (tmp_path / "photos/torn.png").write_bytes(b"no image")
    data = {"data__name": f"folder:{tmp_path / 'photos'}", "data__skip_bad": True, "data__test_fraction": 0.0}
    shown = {}
    for classes in (None, ["cat", "dog"]):
        path = make(tmp_path / f"run{classes}", **data, data__classes=classes)
        context = open_context(read_config(path), path / "images")
        assert any("have no label" in note for note in notes_of(context))  # the terminal has all of them
        shown[classes is None] = notes_for_people(context)
    assert all(any("torn.png" in note for note in notes) for notes in shown.values())
    assert not [note for notes in shown.values() for note in notes if "has a name yet" in note]
    assert not [note for note in shown[False] if "have no label" in note and "--classes" not in note]


def test_no_class_has_a_comma_in_its_name(tmp_path):
    with opened(make(tmp_path / "run", query__n_init=50)) as session:
        with pytest.raises(DeskError, match="--classes") as refused:
            session.add_class("a,b")
        assert refused.value.status == 400
        with pytest.raises(DeskError, match="'7' and '07' differ in spelling alone: the first is a class already"):
            session.add_class("07")
