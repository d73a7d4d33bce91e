"""Where a labelling session could go wrong: what is said twice, by several people, at the end of things, too much."""

import errno
import threading

import pytest
from marks import some_long
from session_cases import (
    LOOKS_AHEAD,
    ThreadNetwork,
    answer,
    ask,
    make,
    network,
    opened,
    say,
    shade,
    squares,
    truth,
    until,
)

from pipeline.errors import RunFailedError
from pipeline.run.pool import INITIAL, Pool
from pipeline.run.rundir import read_events
from pipeline.session.asking import LEFT_OUT, OPEN
from pipeline.session.desk import DeskError
from pipeline.session.network import LostError
from pipeline.session.networks import ATTEMPTS


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
        assert session.state("anna")["skipped"] == 0
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
        with pytest.raises(DeskError, match="none is left that it takes for 'other'"):
            session.grid("anna", "other", 5)
        answer(session)
        assert ask(session)["asked_by"] == 0
    assert unexpected(warnings) == []


# The end of things ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "size"),
    [("random", 1), ("badge", 3), ("margin-influence-sequential", 1),
     *some_long(("margin", 3), ("coreset", 3), ("naive", 1), ("margin-lin", 3), ("margin-influence-greedy", 3),
                ("dynamical-sequential", 1))],
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
        with pytest.raises(DeskError, match="none is left that it takes"):
            session.grid("anna", "dark", 5)
    with opened(path, warnings) as session:
        until(session, network(5))
        assert ask(session)["reason"] == "pool"
    assert unexpected(warnings) == []


@pytest.mark.long
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


# Budgets --------------------------------------------------------------------------------------------------------------


def test_a_budget_holds_within_a_query_and_in_a_grid(tmp_path):
    path = make(tmp_path / "run", **squares(tmp_path, 60), query__size=6, annotator__budget=8)
    with opened(path) as session:
        say(session, 4)
        until(session, network(0))
        [first] = say(session)
        grid = [item["sample"] for item in session.grid("anna", shade(0), 20)["items"]]
        assert 1 <= len(grid) <= 3
        say(session)
        assert ask(session)["kind"] == "question"  # the query has more
        say(session, 1, "ben")
        assert ask(session, "ben")["reason"] == "yours"  # anna has the last one
        assert session.confirm("anna", shade(0), grid[:1], [], 1.0)["reason"] == "budget"  # although she was shown one
        with pytest.raises(DeskError, match="budget is spent"):
            session.grid("carl", shade(0), 3)
        session.undo("anna", first)
        assert ask(session)["sample"] == first
        say(session)
        assert ask(session)["reason"] == "budget"
    assert len(Pool(60, read_events(path)).current) == 8


def test_people_are_not_shown_more_than_the_budget_has_left(tmp_path):
    path = make(tmp_path / "run", query__n_init=50, annotator__budget=3, annotator__overlap=1.0)
    with opened(path) as session:
        answer(session, 2)
        assert ask(session)["kind"] == "question"
        assert ask(session, "ben")["why"] == "overlap"  # no label more
        answer(session, 2, "ben")
        assert ask(session, "ben")["reason"] == "yours"  # anna has the last one
        answer(session)
        assert ask(session)["reason"] == "budget"
        assert ask(session, "ben")["why"] == "overlap"


# Several people -------------------------------------------------------------------------------------------------------


def test_a_dispute_is_shown_again_after_a_restart(tmp_path):
    path = make(tmp_path / "run", query__n_init=50)
    with opened(path) as session:
        [sample] = answer(session)
        other = next(name for name in session.clerk.classes if name != truth(session, sample))
        session.answer("ben", sample, other, 1.0)
    with opened(path) as session:
        question = ask(session)
        assert (question["sample"], question["why"]) == (sample, "disputed")
        assert ask(session, "ben")["sample"] != sample  # he spoke last, and knew


def test_a_grid_takes_back_nothing_that_was_said(tmp_path):
    path = make(tmp_path / "run", **squares(tmp_path) | {"query__n_init": 50})
    with opened(path) as session:
        called, skipped = *say(session), ask(session)["sample"]
        session.skip("anna", skipped, "", 1.0)
        events = len(read_events(path))
        with pytest.raises(DeskError, match="you skipped one of them already"):
            session.confirm("anna", shade(skipped), [skipped], [], 1.0)
        with pytest.raises(DeskError, match=f"you called one of them '{shade(called)}' already"):
            session.confirm("anna", shade(called), [], [called], 1.0)
        with pytest.raises(DeskError, match=f"you called one of them '{shade(called)}' already"):
            session.confirm("anna", shade(called + 1), [called], [], 1.0)
        session.confirm("anna", shade(called), [called], [skipped], 1.0)  # says nothing new
        assert len(kinds(path, "label", "skip", "undo")) == 2
        assert len(read_events(path)) == events


# Networks that fail ---------------------------------------------------------------------------------------------------


def fails(*arguments, **options):
    raise RunFailedError("no")


def test_networks_that_failed_are_no_sign_of_a_log_that_was_cut_back(tmp_path, monkeypatch):
    path = make(tmp_path / "run")
    with opened(path) as session:
        answer(session, 12)
        until(session, network(0))
        with monkeypatch.context() as patch:
            patch.setattr("pipeline.session.child.run_score", fails)
            for _ in range(2):  # two networks that are trained, and no more
                answer(session, 4)
                until(session, lambda state: not state["training"])
    with opened(path) as session:
        until(session, network(2))


def test_a_network_that_is_lost_while_the_next_one_fails_comes_back(tmp_path, monkeypatch):
    path, begun, waiting = make(tmp_path / "run"), [], threading.Event()

    def fails_in_the_end(*arguments, **options):
        begun.append(1)
        if len(begun) == ATTEMPTS:
            waiting.wait(60)
        raise RunFailedError("no")

    def lost(*arguments):
        raise LostError("lost")

    with opened(path) as session:
        answer(session, 12)
        until(session, network(0))
        monkeypatch.setattr("pipeline.session.child.run_train", fails_in_the_end)
        answer(session, 4)
        until(session, lambda state: len(begun) == ATTEMPTS)
        networks = session.clerk.networks
        networks._serving.choose = networks._serving.likely = lost
        assert session.question("ben")["kind"] == "question"  # drawn at random
        assert networks.serving is None
        with pytest.raises(DeskError, match="no network yet"):
            session.grid("anna", commonest(session), 3)
        waiting.set()
        assert until(session, lambda state: state["network"] and not state["training"])["network"]["cycle"] == 0
        answer(session)
        assert ask(session)["asked_by"] == 0
    assert len(begun) == ATTEMPTS


def test_a_full_disk_when_a_network_is_there(tmp_path):
    path, warnings, ended = make(tmp_path / "run"), [], []

    class Noted(ThreadNetwork):
        def stop(self):
            super().stop()
            ended.append(self)

    with opened(path, warnings, Noted) as session:
        append = session.clerk.run.append

        def full(event, **fields):
            if event == "stage_done":
                raise OSError(errno.ENOSPC, "No space left on device")
            return append(event, **fields)

        session.clerk.run.append = full
        answer(session, 12)
        until(session, lambda state: any("No space left" in warning for warning in state["warnings"]))
        assert session.state("anna")["training"] is None
        assert len(ended) == 1  # the network that nobody could log
        session.clerk.run.append = append
        answer(session)
        until(session, network(0))
    assert not kinds(path, "failed")


# Requests and the end -------------------------------------------------------------------------------------------------


def test_what_nobody_waits_for_any_more_is_not_done(tmp_path, monkeypatch):
    path, held = make(tmp_path / "run", query__n_init=50), threading.Event()
    with opened(path) as session:
        answer(session, 2)
        session._tell(lambda: held.wait(60) and None)
        with monkeypatch.context() as patch:
            patch.setattr("pipeline.session.session.PATIENCE", 0.1)
            for _ in range(2):
                with pytest.raises(DeskError, match="busy"):
                    session.undo("anna", None)
        held.set()
        assert session.state("anna")["labelled"] == 2
        session.undo("anna", None)
        assert session.state("anna")["labelled"] == 1


def test_nothing_is_logged_or_begun_once_a_session_has_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.session.session.LAST_JOB", 0.2)
    path, asked = make(tmp_path / "run", query__size=30), threading.Event()

    class Stuck(ThreadNetwork):
        """A process that does not answer, until it is killed."""

        def choose(self, record):
            asked.set()
            raise self._replies.get(timeout=60)

        def stop(self):
            super().stop()
            self._replies.put(LostError("killed"))

    with opened(path, network=Stuck) as session:
        answer(session, 12)
        until(session, network(0))
        sample = ask(session)["sample"]
        waiting = threading.Thread(target=session.answer, args=("anna", sample, truth(session, sample), 1.0))
        waiting.start()
        assert asked.wait(60)
        session.stop()
        assert not session._thread.is_alive()
        assert session.clerk.networks.making is None
        waiting.join()
        with pytest.raises(DeskError, match="stopping"):
            session.question("anna")
    assert kinds(path, "label")[-1]["labels"][0][0] == sample


def test_late_answers_are_taken_in_by_the_network_that_asks(tmp_path):
    path = make(tmp_path / "run", **LOOKS_AHEAD, query__retrain_every=4)
    with opened(path) as session:
        answer(session, 12)
        until(session, network(0))
        late, undone = ask(session, "ben")["sample"], answer(session, 4)[0]
        session.undo("anna", undone)  # which the next network learns: it is no candidate of its own
        until(session, network(1))

        def told():
            serving = session.clerk.networks._serving
            assert list(serving.predictions([undone, late])) == [late]
            return session.clerk.record(serving.cycle, serving.late)

        assert told()[late] == OPEN
        assert session.clerk.pool.asked_in(late) == 0
        session.answer("ben", late, truth(session, late), 1.0)
        assert told()[late] == session.clerk.pool.current[late]
    with opened(path) as session:
        until(session, network(1))
        assert told()[late] == session.clerk.pool.current[late]


def test_the_record_says_what_became_of_every_sample(tmp_path):
    path = make(tmp_path / "run", **squares(tmp_path) | {"query__n_init": 50})
    with opened(path) as session:
        [called, disputed], skipped = say(session, 2), ask(session)["sample"]
        session.skip("anna", skipped, "", 1.0)
        session.answer("ben", disputed, shade(disputed + 1), 1.0)
        session.undo("anna", called)
        said = {called: OPEN, disputed: LEFT_OUT, skipped: LEFT_OUT}
        record = session.clerk.record(INITIAL)
        assert {sample: record[sample] for sample in said} == said
        session.answer("anna", called, shade(called), 1.0)
        assert session.clerk.record(INITIAL)[called] == called % 2
        assert session.clerk.record(0) == {}
        assert list(session.clerk.record(0, [skipped])) == [skipped]
