"""A class that appears late, from the page to the network that knows it: nothing of the networks before stays."""

import numpy as np
import pytest
from session_cases import LOOKS_AHEAD, ask, make, opened, until

from pipeline.run.rundir import cycle_path, read_events
from pipeline.run.stages.train import read_summary

NAMES = ("one", "two", "three")


def truth(sample):
    return sample % 3


def features(folder):
    """Options of features of three kinds, of which nobody has named any."""
    rng = np.random.default_rng(0)
    x = np.eye(8)[np.arange(60) % 3] * 3 + rng.normal(size=(60, 8)) * 0.4
    np.savez(folder / "f.npz", X=x.astype(np.float32))
    return {"data__name": f"npz:{folder / 'f.npz'}", "data__test_fraction": 0.0, "model__name": "linear",
            "model__options": {}, "train__epochs": None}  # fmt: skip


def images(folder):
    """Options of images with a bright bar in one of three places."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 60, (60, 12, 12))
    for n in range(60):
        x[n, 4 * (n % 3) : 4 * (n % 3) + 4] += 150
    np.savez(folder / "f.npz", X=x.astype(np.uint8))
    return {"data__name": f"npz:{folder / 'f.npz'}", "data__test_fraction": 0.0, "model__name": "cnn",
            "model__options": {"width": 8}, "train__epochs": 60}  # fmt: skip


def say(session, kinds):
    """Answer the questions about some kinds, skip the others, and return what was labelled."""
    done = []
    for _ in range(8):
        sample = ask(session)["sample"]
        if truth(sample) in kinds:
            session.answer("anna", sample, NAMES[truth(sample)], 1.0)
            done.append(sample)
        else:
            session.skip("anna", sample, "no class yet", 1.0)
    return done


@pytest.mark.parametrize("of", [features, images], ids=["linear", "cnn"])
def test_a_class_that_comes_after_two_networks_is_known_to_the_next(tmp_path, of):
    path = make(tmp_path / "run", **(of(tmp_path) | LOOKS_AHEAD | {"query__initial": "auto", "query__n_init": 6}))
    with opened(path) as session:  # no class at all: what is shown cannot be answered until somebody adds one
        ask(session)
        assert session.state("anna")["classes"] == []
        for name in NAMES[:2]:
            session.add_class(name)
        newest = -1
        while newest < 1:
            say(session, {0, 1})
            state = until(session, lambda state: not state["training"])
            newest = state["network"]["cycle"] if state["network"] else -1
        session.add_class("three")
        assert session.state("anna")["classes"][2]["count"] == 0
        with pytest.raises(Exception, match="none is left that it takes for 'three'"):
            session.grid("anna", "three", 10)
        labelled = [sample for sample in say(session, {0, 1, 2}) if truth(sample) == 2]
        until(session, lambda state: session.clerk.networks.serving > newest and not state["training"])
        while not labelled or len(session.clerk.networks.learned & set(labelled)) < len(labelled):
            labelled += [sample for sample in say(session, {0, 1, 2}) if truth(sample) == 2]
            until(session, lambda state: not state["training"])
        serving = session.clerk.networks.serving
        spec = read_summary(cycle_path(path, serving) / "train")
        assert spec["classes"] == list(NAMES)
        left = [n for n in range(60) if session.clerk.pool.asked_in(n) is None]
        guesses = session.clerk.networks.predictions(left)
        assert guesses
        right = [guess["label"] == NAMES[truth(sample)] for sample, guess in guesses.items()]
        assert np.mean(right) > 0.9
    asked = [event for event in read_events(path) if event["event"] == "query" and "initial" in event]
    assert {event["initial"] for event in asked} == {"typiclust"}
