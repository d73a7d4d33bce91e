"""What a network asks next: kept in step with the record, whatever is said, taken back or open."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.queries.base import Chosen
from pipeline.run.stages.score import Scores
from pipeline.session.asking import LEFT_OUT, OPEN, Asking

CANDIDATES = np.array([30, 31, 32, 33, 34, 35])


class Plain:
    """A query as a plug-in may write it: the first candidates that were not observed, which notes what it is told."""

    def __init__(self, state, opened):
        self.left, self.told, self.drawn = list(state.candidates), [], state.rng.integers(2**31)
        opened.append(self)

    def choose(self, n):
        assert n <= len(self.left)
        return Chosen(np.array(self.left[:n]), np.zeros(n))

    def observe(self, sample, label):
        self.told.append((sample, label))
        self.left.remove(sample)


class Full(Plain):
    """One that also has what a query may have."""

    def leave_out(self, sample):
        self.observe(sample, None)

    def fork(self):
        other = object.__new__(Full)
        other.left, other.told = list(self.left), list(self.told)
        return other


def asking(kind, sequential=True):
    """An ``Asking`` of two classes, and the queries that it opens."""
    opened = []
    state = SimpleNamespace(
        candidates=CANDIDATES,
        num_classes=2,
        rng=np.random.default_rng(0),
        loss="l2",
        outputs=np.eye(2)[[0, 1, 0, 1, 0, 0]],
    )
    state.opened = lambda: state
    strategy = SimpleNamespace(name="mine", sequential_query=lambda state: kind(state, opened))
    scores = Scores(CANDIDATES, np.arange(6.0), np.zeros(6, np.int64))
    return Asking(strategy, state, scores, 1, sequential), opened


def next_of(network, record):
    [sample] = network.choose(record).ids
    return sample


@pytest.mark.parametrize("kind", [Plain, Full])
def test_every_answer_is_told_once_and_nothing_that_was_asked_is_chosen(kind):
    network, opened = asking(kind)
    assert next_of(network, {}) == 30
    assert next_of(network, {30: 1}) == 31
    assert next_of(network, {30: 1, 31: OPEN, 32: OPEN}) == 33  # others are looking at those
    assert next_of(network, {30: 1, 31: 0, 32: OPEN, 99: 1}) == 33  # 99 is no candidate
    assert opened[0].told == [(30, 1), (31, 0)]  # what is open was told to another query


@pytest.mark.parametrize("label", [LEFT_OUT, 2], ids=["nobody could label it", "a class that was added since"])
def test_what_says_nothing_to_the_network_is_passed_over(label):
    for kind, told in ((Plain, [(31, 1)]), (Full, [(30, None), (31, 1)])):
        network, opened = asking(kind)
        assert next_of(network, {30: label, 31: 1}) == 32
        assert opened[0].told == told


@pytest.mark.parametrize("kind", [Plain, Full])
@pytest.mark.parametrize(
    "after", [{31: 1}, {30: 0, 31: 1}, {30: LEFT_OUT, 31: 1}], ids=["undone", "corrected", "skipped"]
)
def test_a_network_that_was_told_wrong_begins_again(kind, after):
    network, opened = asking(kind)
    network.choose({30: 1, 31: 1})
    network.choose(after)
    fresh, own = asking(kind)
    fresh.choose(after)
    assert opened[-1].told == own[-1].told
    assert opened[0].drawn == opened[-1].drawn == own[0].drawn  # and from the same random stream


def test_a_query_that_cannot_be_forked_is_told_the_same_as_the_one_that_stands():
    network, opened = asking(Plain)
    network.choose({30: 1, 31: 0, 32: OPEN})
    assert [query.told for query in opened] == [[(30, 1), (31, 0)]] * 2


def test_a_ranking_goes_down_and_a_withdrawn_answer_opens_it_again():
    network, _ = asking(Plain, sequential=False)
    assert next_of(network, {}) == 35
    assert next_of(network, {35: 0, 34: OPEN, 33: LEFT_OUT}) == 32
    assert next_of(network, {34: 1}) == 35
    assert network.choose(dict.fromkeys(CANDIDATES.tolist(), 0)).ids == []


def test_a_grid_has_what_nobody_was_asked_about():
    network, _ = asking(Plain, sequential=False)
    assert network.likely({32: OPEN, 34: 0}, 0, 9).ids == [30, 35]
    assert network.likely({}, 0, 3).ids == [30, 32, 34]
    assert network.likely({}, 2, 9).ids == []
    guesses = network.predictions([99, 31])
    assert list(guesses) == [31]  # 99 is no candidate
    assert guesses[31][0] == 1
