"""Every baseline against a case worked by hand, and one contract for all registered strategies."""

import math

import numpy as np
import pytest

import cases
from linearize import LookAhead
from pipeline.errors import PipelineError
from pipeline.pool import Labelled
from pipeline.queries import STRATEGIES, QueryState, get_strategy
from pipeline.queries.base import select_top
from pipeline.queries.uncertainty import entropy, lack_of_confidence, negative_margin

# Four samples, three classes.  By hand, per row:
#   entropy (nats): 0;  ln 2;  -(0.5 ln 0.5 + 0.3 ln 0.3 + 0.2 ln 0.2) = 1.02965;  -(0.8 ln 0.4 + 0.2 ln 0.2) = 1.05492
#   margin: 1;  0;  0.2;  0          top probability: 1;  0.5;  0.5;  0.4
P = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.3, 0.5, 0.2], [0.4, 0.2, 0.4]])


def test_entropy_by_hand():
    np.testing.assert_allclose(entropy(P), [0, math.log(2), 1.0296530, 1.0549202], atol=1e-7)


def test_margin_is_between_the_classes_of_each_sample_by_hand():
    np.testing.assert_allclose(negative_margin(P), [-1, 0, -0.2, 0], atol=1e-12)


def test_least_confidence_by_hand():
    np.testing.assert_allclose(lack_of_confidence(P), [0, 0.5, 0.5, 0.6], atol=1e-12)


class Network:
    """A random problem whose state strategies see; candidates have ids that are no pool positions."""

    def __init__(self, U=12, L=6, C=3, seed=0, loss="l2", duplicate=False):
        self.apply_fn, self.variables = cases.tiny_conv_net(classes=C, dtype=np.float32)
        self.images = cases.images(seed, 200, np.float32)
        ids = np.random.default_rng(seed).permutation(200)
        self.labelled = Labelled(ids[:L], np.arange(L) % C)
        self.candidates = ids[L : L + U]
        if duplicate:
            self.images[self.candidates[1]] = self.images[self.candidates[0]]
            self.images[self.candidates[2]] = self.images[self.labelled.ids[0]]
        self.C, self.loss = C, loss

    def state(self, seed=0):
        return QueryState(
            candidates=self.candidates,
            labelled=self.labelled,
            num_classes=self.C,
            loss=self.loss,
            rng=np.random.default_rng(seed),
            inputs=lambda ids: self.images[ids],
            evaluate=lambda x: np.asarray(self.apply_fn(self.variables, x)),
            linearize=lambda X, labels, pool: LookAhead.fit(
                self.apply_fn, self.variables, X, np.eye(self.C)[labels], pool
            ),
        )


@pytest.mark.parametrize("name", STRATEGIES)
class TestContract:
    def test_selects_the_right_number_of_distinct_candidates_best_first(self, name):
        network = Network()
        selection = get_strategy(name).query(network.state(), 5)
        assert len(selection.indices) == len(set(selection.indices)) == 5
        assert set(selection.indices) <= set(network.candidates)
        assert not set(selection.indices) & set(network.labelled.ids)
        assert (np.diff(selection.scores) <= 0).all()
        assert selection.candidate_scores.shape == network.candidates.shape
        again = select_top(network.candidates, selection.candidate_scores, 5)  # what stage `select` does
        np.testing.assert_array_equal(again.indices, selection.indices)
        np.testing.assert_array_equal(again.scores, selection.scores)

    def test_is_reproducible(self, name):
        network = Network()
        first, second = (get_strategy(name).query(network.state(), 5) for _ in range(2))
        np.testing.assert_array_equal(first.indices, second.indices)
        np.testing.assert_array_equal(first.scores, second.scores)

    def test_pool_of_one_and_query_as_large_as_the_pool(self, name):
        assert len(get_strategy(name).query(Network(U=1).state(), 1).indices) == 1
        network = Network()
        selection = get_strategy(name).query(network.state(), 12)
        assert sorted(selection.indices) == sorted(network.candidates)

    def test_refuses_more_than_there_are(self, name):
        with pytest.raises(PipelineError, match="expected 1 to 12 samples"):
            get_strategy(name).query(Network().state(), 13)

    def test_exact_duplicates_are_handled(self, name):
        selection = get_strategy(name).query(Network(duplicate=True).state(), 12)
        assert np.isfinite(selection.scores).all()
        assert len(set(selection.indices)) == 12

    def test_describes_itself_in_one_line(self, name):
        strategy = get_strategy(name)
        assert strategy.description
        assert strategy.source
        assert "\n" not in strategy.description + strategy.source


def test_strategies_rank_by_their_own_measure():
    network = Network()
    state = network.state()
    for name, measure in (("entropy", entropy), ("margin", negative_margin), ("least-confidence", lack_of_confidence)):
        np.testing.assert_allclose(
            get_strategy(name).query(network.state(), 3).candidate_scores, measure(state.probabilities)
        )
    for name in ("mlmoc", "mlmoc-flips"):
        expected = state.look_ahead.scores(name)
        np.testing.assert_allclose(get_strategy(name).query(network.state(), 3).candidate_scores, expected)


def test_random_depends_on_its_stream_alone():
    network = Network(U=100)
    first = get_strategy("random").query(network.state(seed=1), 50).indices
    second = get_strategy("random").query(network.state(seed=2), 50).indices
    assert set(first) != set(second)


def test_ties_are_broken_by_the_candidates_own_random_order():
    network = Network()
    selection = select_top(network.candidates, np.zeros(12), 4)
    np.testing.assert_array_equal(selection.indices, network.candidates[:4])


def test_scores_that_are_not_numbers_are_a_bug_not_a_ranking():
    with pytest.raises(ValueError, match="finite"):
        select_top(np.arange(12), np.full(12, np.nan), 4)


def test_unknown_strategy_lists_the_known_ones():
    with pytest.raises(PipelineError, match="expected one of mlmoc, .*; got 'badge'"):
        get_strategy("badge")
