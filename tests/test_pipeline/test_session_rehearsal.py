"""What a network process does before its first order: it takes time from the first network, and changes nothing."""

from typing import ClassVar

import pytest
from session_cases import LOOKS_AHEAD, ThreadNetwork, answer, make, network, opened, until

from linearize import LookAhead
from pipeline.run.context import open_context
from pipeline.run.rundir import read_config, read_events
from pipeline.run.stages.migrate import Porter
from pipeline.session import rehearsal
from pipeline.session.network import NetworkProcess


class Rehearsing(ThreadNetwork):
    """Rehearses as the process does, and says so."""

    told: ClassVar[list[int]] = []

    def rehearse(self, threads):
        self.told.append(threads)
        NetworkProcess.rehearse(self, threads)


@pytest.fixture
def fitted(monkeypatch):
    """Labelled and candidate images of every linearisation."""
    made, fit = [], LookAhead.fit

    def fits(apply_fn, variables, X, Y, pool, *more, **options):
        made.append((len(X), len(pool)))
        return fit(apply_fn, variables, X, Y, pool, *more, **options)

    monkeypatch.setattr(rehearsal.LookAhead, "fit", fits)
    return made


def context_of(tmp_path, **options):
    return open_context(read_config(make(tmp_path / "run", **options)), tmp_path / "images")


@pytest.mark.parametrize(
    ("strategy", "answers", "ports", "linearised"),
    [
        ("margin-influence-sequential", [False] * 9, True, [(12, 60)]),
        ("margin-influence-sequential", [False, True], True, []),  # an order came meanwhile
        ("margin-influence-sequential", [True], False, []),
        ("margin", [False] * 9, False, []),  # needs no port
    ],
)
def test_it_goes_as_far_as_there_is_time(tmp_path, fitted, strategy, answers, ports, linearised):
    porter, calls = Porter(), iter(answers)
    rehearsal.rehearse(context_of(tmp_path, query__strategy=strategy), porter, lambda: next(calls))
    assert (porter._last is not None) == ports
    assert fitted == linearised


def test_without_classes_it_tries_two(tmp_path, fitted):
    import numpy as np

    np.savez(tmp_path / "x.npz", X=np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8))
    data = {"data__name": f"npz:{tmp_path / 'x.npz'}", "data__test_fraction": 0.0}
    rehearsal.rehearse(context_of(tmp_path, **data, **LOOKS_AHEAD), Porter(), lambda: False)
    assert fitted == [(12, 8)]


def test_what_fails_in_it_is_no_matter(tmp_path, monkeypatch):
    def fails(*_):
        raise ZeroDivisionError("of a user's own network")

    monkeypatch.setattr(Porter, "__call__", fails)
    rehearsal.rehearse(context_of(tmp_path, **LOOKS_AHEAD), Porter(), lambda: False)


def results(path):
    return [event["sha256"] for event in read_events(path) if event["event"] == "stage_done"]


def test_the_first_network_is_the_same_with_and_without_it(tmp_path, fitted):
    for name, kind in (("with", Rehearsing), ("without", ThreadNetwork)):
        Rehearsing.told.clear()
        with opened(make(tmp_path / name, **LOOKS_AHEAD), network=kind) as session:
            answer(session, 12)
            until(session, network(0))
            assert Rehearsing.told == ([session.clerk.threads] if name == "with" else [])
    assert results(tmp_path / "with") == results(tmp_path / "without")
    assert len(results(tmp_path / "with")) == 3
    Rehearsing.told.clear()
    with opened(tmp_path / "with", network=Rehearsing) as session:
        until(session, network(0))
    assert not Rehearsing.told  # the network is there and is opened at once
