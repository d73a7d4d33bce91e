"""Labelling sessions for tests: networks in threads instead of processes, and people who know the truth."""

import multiprocessing
import threading
import time
from contextlib import contextmanager, suppress

import numpy as np

from pipeline.config import load_config
from pipeline.run.context import open_context
from pipeline.run.rundir import RunDirectory, create_run, read_config
from pipeline.session.child import work
from pipeline.session.network import NetworkProcess
from pipeline.session.session import Session

OPTIONS = {
    "data.name": "digits",
    "annotator.name": "page",
    "model.name": "mlp",
    "model.options": {"width": 16},
    "query.strategy": "margin",
    "query.n_init": 12,
    "query.initial": "random",
    "query.size": 4,
    "query.subset": 60,
    "train.epochs": 8,
    "device": "cpu",
    "threads": 1,
}
LOOKS_AHEAD = {"query__strategy": "margin-influence-sequential"}


class ThreadNetwork(NetworkProcess):
    """A network in a thread: all that the process does, without the seconds that starting one takes."""

    def _start(self, run, cache):
        mine, theirs = multiprocessing.Pipe()
        self._thread = threading.Thread(target=work, args=(theirs, run, cache), daemon=True)
        self._thread.start()
        return mine

    def rehearse(self, threads):
        """Nothing: the tests' own process has done everything once already."""

    def stop(self):
        with suppress(OSError):
            self._connection.send(None)
        self._thread.join()


def make(path, **options):
    create_run(path, load_config(options=OPTIONS | {name.replace("__", "."): v for name, v in options.items()}))
    return path


@contextmanager
def opened(path, warnings=None, network=ThreadNetwork, news=None):
    """Open a run's session as ``pipeline label`` does."""
    warnings, news = [] if warnings is None else warnings, [] if news is None else news
    with RunDirectory(path, warnings.append) as run:
        context = open_context(read_config(path), path / "images")
        session = Session(run, context, path / "images", "anna", warnings.append, network, news.append)
        try:
            yield session
        finally:
            session.stop()


def truth(session, sample):
    """The name of a sample's own class."""
    data = session.clerk.context.data
    return data.classes[data.train.labels[sample]]


def squares(folder, count=24, given=0):
    """Options of a small data set of dark and bright squares, of which the first ones have a label."""
    bright = np.arange(count) % 2
    images = np.random.default_rng(0).random((count, 8, 8)) * 60 + bright[:, None, None] * 150
    np.savez(folder / "x.npz", X=images.astype(np.uint8), y=np.where(np.arange(count) < given, bright, -1))
    name = f"npz:{folder / 'x.npz'}"
    return {"data__name": name, "data__classes": ["dark", "bright"], "data__test_fraction": 0.0, "query__n_init": 4}


def shade(sample):
    """The name of a square's class: the odd ones are bright."""
    return ("dark", "bright")[sample % 2]


def say(session, count=1, annotator="anna"):
    """Answer questions about squares truly; return the samples."""
    samples = []
    for _ in range(count):
        samples.append(ask(session, annotator)["sample"])
        session.answer(annotator, samples[-1], shade(samples[-1]), 1.0)
    return samples


def ask(session, annotator="anna", seconds=180):
    """Return the question, once there is one."""
    until = time.monotonic() + seconds
    while (question := session.question(annotator))["kind"] == "wait":
        assert time.monotonic() < until, question
        time.sleep(0.02)
    return question


def answer(session, count=1, annotator="anna"):
    """Answer questions truly; return the samples."""
    samples = []
    for _ in range(count):
        question = ask(session, annotator)
        assert question["kind"] == "question", question
        samples.append(question["sample"])
        session.answer(annotator, samples[-1], truth(session, samples[-1]), 1.5)
    return samples


def until(session, condition, seconds=180):
    """Wait for a state that fulfils a condition, and return it."""
    end = time.monotonic() + seconds
    while not condition(state := session.state("anna")):
        assert time.monotonic() < end, state
        time.sleep(0.05)
    return state


def network(cycle):
    """Whether a network of at least this number asks and none is in the making."""
    return lambda state: state["network"] and state["network"]["cycle"] >= cycle and not state["training"]
