"""Where a session could go wrong: what is said twice, by several people, at the end of things, or too much."""

import numpy as np
import pytest
from session_cases import LOOKS_AHEAD, answer, ask, make, network, opened, until

from pipeline.run.rundir import read_events
from pipeline.session.desk import DeskError


def kinds(path, *names):
    return [event for event in read_events(path) if event["event"] in names]


def commonest(session):
    """The class with most labels, which a network takes most images for."""
    return max(session.state("anna")["classes"], key=lambda each: each["count"])["name"]


def unexpected(warnings):
    """Warnings but for those of a training that found its learning rate."""
    return [warning for warning in warnings if "learning rate" not in warning]


# Skips ----------------------------------------------------------------------------------------------------------------


def test_what_was_skipped_in_a_closed_round_can_be_skipped_again(tmp_path):
    path = make(tmp_path / "run", query__n_init=4)
    with opened(path) as session:
        sample = ask(session)["sample"]
        session.skip("anna", sample, "", 1.0)
        answer(session, 12)
        until(session, network(0))
        assert session.undo("anna", sample)["sample"] == sample
        assert session.skip("anna", sample, "", 1.0)["sample"] != sample
    assert len(kinds(path, "skip")) == 2


def test_everybody_s_skip_is_logged_and_stands_by_itself(tmp_path):
    path = make(tmp_path / "run", query__n_init=50)
    with opened(path) as session:
        sample = ask(session)["sample"]
        for _ in range(2):  # sent again: it changes nothing
            session.skip("anna", sample, "", 1.0)
            session.skip("ben", sample, "dark", 1.0)
        assert [event["annotator"] for event in kinds(path, "skip")] == ["anna", "ben"]
        session.undo("anna", sample)
        assert session.state("anna")["skipped"] == 1
        assert session.question("ben")["sample"] != sample


# Grids ----------------------------------------------------------------------------------------------------------------


def test_two_people_are_not_shown_the_same_grid(tmp_path):
    path = make(tmp_path / "run", query__size=30)
    with opened(path) as session:
        answer(session, 12)
        until(session, network(0))
        name = commonest(session)
        grids = [{i["sample"] for i in session.grid(who, name, 3)["items"]} for who in ("anna", "ben")]
        assert not grids[0] & grids[1]


@pytest.mark.parametrize("options", [{}, LOOKS_AHEAD], ids=["ranks once", "looks ahead"])
def test_a_grid_of_a_class_that_the_network_does_not_know(tmp_path, options):
    path, warnings = make(tmp_path / "run", query__size=30, **options), []
    with opened(path, warnings) as session:
        answer(session, 12)
        until(session, network(0))
        session.add_class("other")
        with pytest.raises(DeskError, match="takes no image that is left for 'other'"):
            session.grid("anna", "other", 5)
        answer(session)
        assert ask(session)["asked_by"] == 0
    assert unexpected(warnings) == []


# The end of things ----------------------------------------------------------------------------------------------------


def squares(folder, count=24):
    """A small data set of dark and bright squares, none of them labelled; the odd ones are bright."""
    bright = np.arange(count) % 2
    images = np.random.default_rng(0).random((count, 8, 8)) * 60 + bright[:, None, None] * 150
    np.savez(folder / "x.npz", X=images.astype(np.uint8), y=np.full(count, -1))
    name = f"npz:{folder / 'x.npz'}"
    return {"data__name": name, "data__classes": ["dark", "bright"], "data__test_fraction": 0.0, "query__n_init": 4}


def shade(sample):
    return ("dark", "bright")[sample % 2]


@pytest.mark.parametrize(
    ("strategy", "size"),
    [("random", 1), ("margin", 3), ("badge", 3), ("coreset", 3), ("naive", 1), ("margin-lin", 3),
     ("margin-influence-greedy", 3), ("margin-influence-sequential", 1)],
)  # fmt: skip
def test_every_image_is_asked_about_once_and_learned(tmp_path, strategy, size):
    options = {"query__strategy": strategy, "query__size": size, "query__retrain_every": 4}
    path, warnings = make(tmp_path / "run", **squares(tmp_path), **options), []
    with opened(path, warnings) as session:
        asked = []
        while (question := ask(session))["kind"] == "question":
            asked.append(question["sample"])
            session.answer("anna", asked[-1], shade(asked[-1]), 1.0)
            if len(asked) % 4 == 0:
                until(session, lambda state: not state["training"])
        assert question["reason"] == "pool"
        assert sorted(asked) == list(range(24))
        assert until(session, network(5))["network"]["labels"] == 24
        with pytest.raises(DeskError, match="takes no image that is left"):
            session.grid("anna", "dark", 5)
    with opened(path, warnings) as session:
        until(session, network(5))
        assert ask(session)["reason"] == "pool"
    assert unexpected(warnings) == []


def test_products_when_everything_is_labelled(tmp_path):
    path, warnings = make(tmp_path / "run", **squares(tmp_path, 12), query__size=2), []
    with opened(path, warnings) as session:
        while (question := ask(session))["kind"] == "question":
            session.answer("anna", question["sample"], shade(question["sample"]), 1.0)
        session.finish()
        state = until(session, lambda state: not state["finished"]["going_on"])
        assert state["network"]["labels"] == 12
        assert {"labels.csv", "predictions.csv"} <= set(state["finished"]["products"])
    assert unexpected(warnings) == []
