"""When the networks of a session are made, of what, and what comes of one that fails; and the products in the end."""

import threading
from types import SimpleNamespace

import pytest
from session_cases import LOOKS_AHEAD, answer, ask, make, network, opened, say, squares, truth, until

from pipeline.errors import DivergedError, RunFailedError
from pipeline.run.rundir import read_events
from pipeline.run.stages.train import read_summary, run_train
from pipeline.session.asking import Asking
from pipeline.session.networks import ATTEMPTS


def kinds(path, *names):
    return [event for event in read_events(path) if event["event"] in names]


@pytest.fixture
def held(monkeypatch):
    """Trainings wait until this event is set."""
    event = threading.Event()

    def waits(*arguments, **options):
        event.wait(60)
        return run_train(*arguments, **options)

    monkeypatch.setattr("pipeline.session.child.run_train", waits)
    yield event
    event.set()


def test_labels_of_one_class_make_no_network(tmp_path):
    path = make(tmp_path / "run", query__n_init=4)
    with opened(path) as session:
        for _ in range(6):
            last = ask(session)["sample"]
            session.answer("anna", last, "3", 1.0)
        assert session.state("anna")["training"] is None
        session.finish()
        assert not kinds(path, "round_closed", "failed")


def test_a_second_class_makes_the_first_network(tmp_path):
    path = make(tmp_path / "run", query__n_init=4)
    with opened(path) as session:
        for name in "33337":
            session.answer("anna", ask(session)["sample"], name, 1.0)
        assert until(session, network(0))["network"]["labels"] == 5


def test_a_training_that_diverged_goes_on_below_the_rate(tmp_path, monkeypatch):
    rates = []

    def diverges(context, cycle, labelled, previous, into, progress, rate, *others):
        rates.append(rate)
        if len(rates) == 1:
            raise DivergedError("diverged", 0.1)
        return run_train(context, cycle, labelled, previous, into, progress, rate, *others)

    monkeypatch.setattr("pipeline.session.child.run_train", diverges)
    path = make(tmp_path / "run")
    with opened(path) as session:
        answer(session, 12)
        until(session, network(0))
    assert rates[0] is None
    assert rates[1] < 0.1
    assert [event["max_lr"] for event in kinds(path, "failed")] == [0.1]


def test_what_is_asked_while_a_network_is_made_is_among_what_it_knows(tmp_path, held):
    path = make(tmp_path / "run", **LOOKS_AHEAD, query__size=4)
    with opened(path) as session:
        answer(session, 12)
        drawn = answer(session, 3)
        held.set()
        until(session, network(0))
        serving = session.clerk.networks._serving
        assert set(serving.predictions(drawn)) == set(drawn)
        answer(session, 2)
        following = ask(session)["next"]
        asked = {sample for event in kinds(path, "query") for sample in event["ids"]}
        following = [sample for sample in following if sample not in asked]
        until(session, network(1))
        serving = session.clerk.networks._serving
        assert following
        assert set(serving.predictions(following)) == set(following)  # which may be shown at once


def test_a_spare_process_that_died_fails_no_network(tmp_path):
    path, warnings = make(tmp_path / "run"), []
    with opened(path, warnings) as session:
        session.clerk.networks._spare.stop()
        until(session, lambda state: session.clerk.networks._spare is None)
        answer(session, 12)
        until(session, network(0))
    assert not kinds(path, "failed")
    assert not [warning for warning in warnings if "could not be made" in warning]


class Unreadable:
    """What can be sent and not be read."""

    def __reduce__(self):
        return int, ("no number",)


def dies(*arguments):
    raise ZeroDivisionError("boom")


@pytest.mark.parametrize(("instead", "reason"), [(dies, "boom"), (lambda *_: Unreadable(), "ended unexpectedly")])
def test_a_process_that_dies_while_it_is_asked_is_waited_for_no_longer(tmp_path, monkeypatch, instead, reason):
    monkeypatch.setattr("pipeline.session.network.PATIENCE", 20.0)
    path, warnings, choose, broken = make(tmp_path / "run", query__size=1), [], Asking.choose, []
    monkeypatch.setattr(Asking, "choose", lambda self, record: broken.pop()() if broken else choose(self, record))
    with opened(path, warnings) as session:
        answer(session, 12)
        until(session, network(0))
        broken.append(instead)
        answer(session)
        until(session, network(0))
        answer(session)
    assert any("opened again" in warning and reason in warning for warning in warnings), warnings
    assert not broken


def test_a_network_that_dies_again_and_again_is_done_without(tmp_path):
    path, warnings = make(tmp_path / "run", query__size=20), []
    with opened(path, warnings) as session:
        answer(session, 12)
        for _ in range(ATTEMPTS):
            until(session, network(0))
            session.clerk.networks._serving.stop()
            until(session, lambda state: state["network"] is None)
        answer(session)
        assert ask(session)["why"] == "random"
        assert session.state("anna")["training"] is None
        answer(session, 19)
        until(session, network(1))
    assert sum("is opened again" in warning for warning in warnings) == ATTEMPTS - 1
    assert sum("is not opened again" in warning for warning in warnings) == 1


def test_a_class_that_is_added_while_a_network_is_made_is_of_the_next_one(tmp_path, held):
    path, warnings = make(tmp_path / "run", query__size=3), []
    with opened(path, warnings) as session:
        session.add_class("first")
        answer(session, 12)
        session.add_class("second")
        session.answer("anna", ask(session)["sample"], "second", 1.0)
        held.set()
        until(session, network(0))
    with opened(path, warnings) as session:
        until(session, network(0))
        answer(session, 2)
        until(session, network(1))
    assert not [warning for warning in warnings if "set aside" in warning]
    names = [read_summary(path / f"cycles/{cycle:03d}/train")["classes"] for cycle in (0, 1)]
    assert [each[10:] for each in names] == [["first"], ["first", "second"]]


def test_the_seconds_of_a_grid_are_shared_by_its_images(tmp_path):
    path = make(tmp_path / "run", **squares(tmp_path, 60), query__size=30)
    with opened(path) as session:
        say(session, 4)
        until(session, network(0))
        grid = [item["sample"] for item in session.grid("anna", "dark", 4)["items"]]
        session.confirm("anna", "dark", grid[1:], grid[:1], 6.0)
    assert len(grid) == 4
    assert kinds(path, "label")[-1]["seconds"] == [1.5] * 3


# Products -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def products(monkeypatch):
    """Products that are made at once and end as they are told; what was there when they were begun."""
    made = SimpleNamespace(exitcode=0, of=[])

    class Process:
        def __init__(self, target, args, daemon):
            self.exitcode, self._run = made.exitcode, args[0]

        def start(self):
            made.of.append(read_events(self._run))

        def join(self):
            pass

        kill = join

    processes = SimpleNamespace(get_context=lambda kind: SimpleNamespace(Process=Process))
    monkeypatch.setattr("pipeline.session.finish.multiprocessing", processes)
    return made


def made(state):
    return state["finished"] and not state["finished"]["going_on"]


def test_products_wait_for_the_network_that_is_made_and_the_last_one(tmp_path, held, products):
    path = make(tmp_path / "run", query__size=30)
    with opened(path) as session:
        answer(session, 12)
        answer(session, 2)
        assert session.finish()["finished"]["going_on"]
        assert not products.of
        held.set()
        until(session, made)
        [events] = products.of
        assert [event["cycle"] for event in events if event["event"] == "cycle_done"] == [0, 1]
        assert read_summary(path / "cycles/001/train")["n_labeled"] == 14
    assert len(kinds(path, "finished")) == 1


def test_products_are_made_where_the_last_network_cannot_be(tmp_path, products, monkeypatch):
    path = make(tmp_path / "run", query__size=30)
    with opened(path) as session:
        answer(session, 12)
        until(session, network(0))
        answer(session, 2)

        def fails(*arguments, **options):
            raise RunFailedError("no")

        monkeypatch.setattr("pipeline.session.child.run_train", fails)
        session.finish()
        until(session, made)
        assert len(products.of) == 1


def test_products_that_cannot_be_made_leave_the_session_open(tmp_path, products):
    products.exitcode = 1
    path, warnings = make(tmp_path / "run"), []
    with opened(path, warnings) as session:
        session.finish()
        until(session, lambda state: state["finished"] is None)
        assert ask(session)["kind"] == "question"
        products.exitcode = 0
        session.answer("anna", ask(session)["sample"], truth(session, ask(session)["sample"]), 1.0)
        session.finish()
        until(session, made)
    assert any("'pipeline products" in warning for warning in warnings)
    assert len(kinds(path, "finished")) == 1
