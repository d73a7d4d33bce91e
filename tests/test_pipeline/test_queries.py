"""Every baseline against a case worked by hand, and one contract for all registered strategies."""

import dataclasses
import math

import numpy as np
import pytest
from all_strategies import NAMES, gaussian_kernel, sampled
from torch import nn

import cases
from linearize import LookAhead, LossGradients
from pipeline.errors import PipelineError, RunFailedError
from pipeline.queries import (
    LookAheadOptions,
    QueryState,
    Selection,
    get_strategy,
    resolve,
    select_in_order,
    select_top,
    validated_query,
)
from pipeline.queries.uncertainty import entropy, lack_of_confidence, negative_margin
from pipeline.retraining import Retrainer
from pipeline.run.pool import Labelled
from trainer.options import TrainOptions

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


# As many samples as classes: along the other axis every measure would rank them otherwise, and nothing would fail.
#   entropy: 1.071, 0.938, 0.877      margin: 0.13, 0.40, 0.06      top probability: 0.44, 0.61, 0.50
SQUARE = np.array([[0.31, 0.44, 0.25], [0.61, 0.21, 0.18], [0.44, 0.50, 0.06]])
#   entropy: 1.030, 0.392, 0.777, 1.097      margin: 0.20, 0.84, 0.04, 0.01      top probability: 0.50, 0.90, 0.51, 0.35
LONG = np.array([[0.2, 0.5, 0.3], [0.9, 0.06, 0.04], [0.47, 0.02, 0.51], [0.35, 0.34, 0.31]])
RANKED = {
    "entropy": ([0, 1, 2], [3, 0, 2, 1]),
    "margin": ([2, 0, 1], [3, 2, 0, 1]),
    "least-confidence": ([0, 2, 1], [3, 0, 2, 1]),
}


@pytest.mark.parametrize("name", RANKED)
@pytest.mark.parametrize("loss", ["l2", "cross-entropy"])
def test_baselines_rank_samples_by_hand(name, loss):
    for p, expected in zip((SQUARE, LONG), RANKED[name], strict=True):
        outputs = p if loss == "l2" else np.log(p)  # the networks whose class probabilities these are
        ids = np.arange(len(p)) + 50
        state = fixed_state(ids, outputs=outputs, loss=loss)
        np.testing.assert_array_equal(get_strategy(name).query(state, len(p)).indices, ids[expected])


def test_random_ranks_by_its_stream_by_hand():
    state = fixed_state(np.array([50, 51, 52, 53]), rng=np.random.default_rng(3))
    numbers = np.random.default_rng(3).random(4)
    expected = sorted(range(4), key=lambda i: -numbers[i])
    np.testing.assert_array_equal(get_strategy("random").query(state, 4).indices, state.candidates[expected])


def test_coreset_covers_candidates_from_the_labelled_by_hand():
    features, labelled = np.array([[1.0], [10.0], [4.0], [6.0], [-3.0]]), np.array([[0.0], [5.0]])
    state = fixed_state(np.arange(50, 55), features=features, labelled_features=labelled)
    # from 0 and 5: 1, 5, 1, 1, 3; from 10 too: 1, -, 1, 1, 3; from -3 too: 1, -, 1, 1, -, the first of equals
    selection = validated_query(get_strategy("coreset"), state, 3)
    np.testing.assert_array_equal(selection.indices, [51, 54, 50])
    np.testing.assert_allclose(selection.scores, [5, 3, 1], atol=1e-12)


@pytest.mark.parametrize(("loss", "longest"), [("l2", 51), ("cross-entropy", 52)])
def test_badge_starts_at_the_longest_gradient_of_the_loss_by_hand(loss, longest):
    # h = 1 everywhere. l2: ‖f - y‖ = 0, 2, √2. Cross-entropy: the softmaxes are (.58, .21, .21),
    # (.91, .05, .05) and (.42, .42, .16), so ‖p - y‖ = .52, .11 and .73.
    outputs, features = np.array([[1.0, 0, 0], [3, 0, 0], [0, 0, -1]]), np.ones((3, 1))
    state = fixed_state(np.arange(50, 53), outputs=outputs, features=features, loss=loss)
    assert validated_query(get_strategy("badge"), state, 1).indices.tolist() == [longest]


def fixed_state(candidates, *, outputs=None, features=None, labelled_features=None, loss="l2", rng=None):
    """A state in which inputs are ids and everything about them is given."""
    known = {"outputs": dict(zip(candidates.tolist(), outputs, strict=True)) if outputs is not None else {}}
    labelled = np.arange(0 if labelled_features is None else len(labelled_features)) + 1000
    rows = [] if features is None else [*zip(candidates.tolist(), features, strict=True)]
    rows += [] if labelled_features is None else [*zip(labelled.tolist(), labelled_features, strict=True)]
    known["features"] = dict(rows)
    return QueryState(
        candidates=candidates,
        labelled=Labelled(labelled, np.zeros(len(labelled), int)),
        num_classes=3,
        loss=loss,
        rng=rng or np.random.default_rng(0),
        inputs=lambda ids: ids,
        evaluate=lambda ids: np.array([known["outputs"][i] for i in ids.tolist()]),
        embed=lambda ids: (np.array([known["features"][i] for i in ids.tolist()]), np.empty((len(ids), 3))),
        linearize=None,
    )


class Network:
    """A random problem whose state strategies see; candidates have ids that are no pool positions."""

    def __init__(self, U=12, L=6, C=3, seed=0, loss="l2", duplicate=False, name="mlmoc"):
        self.apply_fn, self.variables = cases.tiny_conv_net(classes=C, dtype=np.float32)
        self.images = cases.images(seed, 200, np.float32)
        ids = np.random.default_rng(seed).permutation(200)
        self.labelled = Labelled(ids[:L], np.arange(L) % C)
        self.candidates = ids[L : L + U]
        if duplicate:
            self.images[self.candidates[1]] = self.images[self.candidates[0]]
            self.images[self.candidates[2]] = self.images[self.labelled.ids[0]]
        self.C, self.loss, self.options = C, loss, LookAheadOptions(mode=resolve(name).mode)

    def embed(self, x):
        """What the head is given, by a head that changes nothing, and what it returns."""
        params, d = self.variables["params"], self.variables["params"]["head"]["kernel"].shape[0]
        identity = {"kernel": np.eye(d, dtype=np.float32), "bias": np.zeros(d, np.float32)}
        features = self.apply_fn({**self.variables, "params": {**params, "head": identity}}, x)
        return np.asarray(features), np.asarray(self.apply_fn(self.variables, x))

    def state(self, seed=0):
        return QueryState(
            candidates=self.candidates,
            labelled=self.labelled,
            num_classes=self.C,
            loss=self.loss,
            rng=np.random.default_rng(seed),
            inputs=lambda ids: self.images[ids],
            evaluate=lambda x: np.asarray(self.apply_fn(self.variables, x)),
            embed=self.embed,
            linearize=lambda X, labels, pool: LookAhead.fit(
                self.apply_fn, self.variables, X, np.eye(self.C)[labels], pool, loss=self.loss
            ),
            options=self.options,
            retrain=self.retrain,
            infinite=gaussian_kernel,
            sample=sampled(self.C),
            queries=5,
            last_layer=self.last_layer,
            differentiate=lambda: LossGradients.of(self.apply_fn, self.variables, self.loss),
            predict_losses=lambda x: x.reshape(len(x), -1).sum(axis=1),
        )

    def last_layer(self):
        head = self.variables["params"]["head"]
        return np.asarray(head["kernel"], float).T, np.asarray(head["bias"], float)

    def retrain(self, X, labels, pool):
        """Another network that can be trained: what is asked of a strategy here does not depend on which."""
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, self.C))
        for parameter in model.parameters():
            nn.init.constant_(parameter, 0.1)
        return Retrainer(model, X, labels, pool, self.C, TrainOptions(max_lr=0.01, loss=self.loss), "cpu")


def strategy_of(name):
    return resolve(name).strategy


CASES = [(name, loss) for name in NAMES for loss in ("l2", "cross-entropy")]
AWARE_OF_THE_BATCH = ("coreset", "badge", "lcmd", "maxdet")
AWARE_OF_THE_LABELLED = ("coreset", "lcmd", "maxdet")


@pytest.mark.parametrize(("name", "loss"), CASES)
class TestContract:
    def test_selects_the_right_number_of_distinct_candidates_best_first(self, name, loss):
        network = Network(loss=loss, name=name)
        selection = strategy_of(name).query(network.state(), 5)
        assert len(selection.indices) == len(set(selection.indices)) == 5
        assert set(selection.indices) <= set(network.candidates)
        assert not set(selection.indices) & set(network.labelled.ids)
        assert (np.diff(selection.scores) <= 0).all()
        assert selection.candidate_scores.shape == network.candidates.shape
        again = select_top(network.candidates, selection.candidate_scores, 5)  # what stage `select` does
        np.testing.assert_array_equal(again.indices, selection.indices)
        np.testing.assert_array_equal(again.scores, selection.scores)

    def test_is_reproducible_and_changes_nothing_that_it_is_given(self, name, loss):
        network = Network(loss=loss, name=name)
        given = (network.candidates, network.images, network.labelled.ids, network.labelled.labels)
        before = [array.copy() for array in given]
        first, second = (strategy_of(name).query(network.state(), 5) for _ in range(2))
        np.testing.assert_array_equal(first.indices, second.indices)
        np.testing.assert_array_equal(first.scores, second.scores)
        for array, copy in zip(given, before, strict=True):
            np.testing.assert_array_equal(array, copy)

    def test_pool_of_one_and_query_as_large_as_the_pool(self, name, loss):
        assert len(validated_query(strategy_of(name), Network(U=1, loss=loss, name=name).state(), 1).indices) == 1
        network = Network(loss=loss, name=name)
        selection = validated_query(strategy_of(name), network.state(), 12)
        assert sorted(selection.indices) == sorted(network.candidates)

    def test_refuses_more_than_there_are(self, name, loss):
        with pytest.raises(PipelineError, match="expected 1 to 12 samples"):
            strategy_of(name).query(Network(loss=loss, name=name).state(), 13)

    def test_exact_duplicates_are_handled(self, name, loss):
        network = Network(loss=loss, duplicate=True, name=name)
        selection = validated_query(strategy_of(name), network.state(), 12)
        assert np.isfinite(selection.scores).all()
        assert len(set(selection.indices)) == 12
        if name in AWARE_OF_THE_BATCH:
            place = {int(id_): rank for rank, id_ in enumerate(selection.indices)}
            original, copy, copy_of_labelled = (place[int(id_)] for id_ in network.candidates[:3])
            last = {max(original, copy)} | ({copy_of_labelled} if name in AWARE_OF_THE_LABELLED else set())
            assert last == set(range(12 - len(last), 12))  # only when nothing else is left

    def test_a_pool_of_copies_is_handled(self, name, loss):
        network = Network(loss=loss, name=name)
        network.images[network.candidates] = network.images[network.candidates[0]]
        assert len(set(validated_query(strategy_of(name), network.state(), 7).indices)) == 7

    def test_describes_itself_in_one_line(self, name, loss):
        strategy = strategy_of(name)
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


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.full(12, np.nan), "got 12 of 12 that are NaN or infinite"),
        (np.zeros((12, 3)), r"one score for each of 12 candidates, got float64 \[12, 3\]"),
        (np.zeros(11), r"one score for each of 12 candidates, got float64 \[11\]"),
        (["high"] * 12, "one score for each of 12 candidates"),
    ],
    ids=["nan", "matrix", "short", "words"],
)
def test_scores_that_are_not_numbers_are_a_bug_not_a_ranking(scores, message):
    with pytest.raises(ValueError, match=message):
        select_top(np.arange(12), scores, 4)


def test_scores_may_be_counts_or_a_list():
    ids = np.array([7, 8, 9])
    np.testing.assert_array_equal(select_top(ids, np.array([0, 2, 1], np.uint8), 3).indices, [8, 9, 7])
    np.testing.assert_array_equal(select_top(ids, [0.0, 2.0, 1.0], 2).indices, [8, 9])


def test_a_batch_in_order_is_ranked_in_that_order():
    selection = select_in_order(np.array([7, 8, 9, 6]), np.array([2, 0]))
    np.testing.assert_array_equal(selection.indices, [9, 7])
    np.testing.assert_array_equal(selection.candidate_scores, [1, 0, 2, 0])
    with pytest.raises(ValueError, match="a position twice"):
        select_in_order(np.arange(3), np.array([1, 1]))


def test_unknown_strategy_lists_the_known_ones():
    with pytest.raises(PipelineError, match="expected one of mlmoc, .*, badge, or MODULE:STRATEGY.*; got 'best'"):
        get_strategy("best")


class Faulty:
    """A strategy that is given what to return or to raise."""

    name = description = source = "faulty"
    needs_port = remembers = False

    def __init__(self, answer):
        self.answer = answer

    def query(self, state, n):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


IDS, RAMP = np.arange(10, 15), np.arange(5.0, 0, -1)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "expected a Selection, got NoneType"),
        (IDS[:2], "expected a Selection, got ndarray"),
        (Selection(IDS[:3], RAMP[:3], RAMP), r"expected 2 samples, got \[3\]"),
        (Selection(IDS[[0, 0]], RAMP[[0, 0]], RAMP), "a sample is chosen twice"),
        (Selection(np.array([10, 99]), RAMP[:2], RAMP), "sample 99 is not among the candidates"),
        (Selection(IDS[:2], RAMP[:2], RAMP * np.inf), "candidate_scores: expected finite scores"),
        (Selection(IDS[:2], RAMP[:2], RAMP[:2]), "candidate_scores: expected one score for each of 5 candidates"),
        (Selection(IDS[1:3], RAMP[1:3], RAMP), "rank other samples"),
        (Selection(IDS[[1, 0]], RAMP[[1, 0]], RAMP), "rank other samples, or in another order"),
        (Selection(IDS[:2], RAMP[2:4], RAMP), "its scores are not those"),
        (Selection(IDS[:2], RAMP[:2], RAMP, memory=[1]), "memory: expected remembers = True with it"),
        (KeyError("x"), r"failed: KeyError: 'x' \(test_queries.py, line \d+\)"),
        (ValueError("two\nlines"), "failed: ValueError: two lines"),
        (SystemExit(3), "failed: SystemExit: 3"),
    ],
)
def test_what_a_strategy_returns_is_checked(answer, message):
    with pytest.raises(RunFailedError, match=f"strategy 'faulty'.*{message}") as error:
        validated_query(Faulty(answer), fixed_state(IDS), 2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("memory", [(1, 2), {1: 2}, {"a": float("nan")}, {"a": np.float32(1)}, {1}, ["x" * 300, 1j]])
def test_what_is_remembered_must_come_back_as_it_was(memory):
    strategy = Faulty(Selection(IDS[:2], RAMP[:2], RAMP, memory=memory))
    strategy.remembers = True
    with pytest.raises(RunFailedError, match="strategy 'faulty': memory: expected what JSON gives back"):
        validated_query(strategy, fixed_state(IDS), 2)
    strategy.answer = strategy.answer._replace(memory={"a": [1, 0.1, None, "ü"]})
    assert validated_query(strategy, fixed_state(IDS), 2).memory == {"a": [1, 0.1, None, "ü"]}


def test_a_lookahead_needs_a_port_and_says_so():
    class Forgetful(Faulty):
        def query(self, state, n):
            return select_top(state.candidates, state.look_ahead.scores("mlmoc"), n)

    def refuse(*_):
        raise ValueError("set needs_port = True")

    state = dataclasses.replace(fixed_state(IDS), linearize=refuse)
    with pytest.raises(RunFailedError, match="set needs_port = True"):
        validated_query(Forgetful(None), dataclasses.replace(state, evaluate=lambda x: x, inputs=lambda x: x), 2)


@pytest.mark.parametrize("criterion", ["mlmoc", "mlmoc-flips", "margin-lin", "entropy-lin"])
def test_greedy_answers_each_choice_before_the_next(criterion):
    network = Network(U=20, name=f"{criterion}-greedy")
    chosen = get_strategy(criterion).query(network.state(), 5).indices
    service = network.state().look_ahead
    positions = []
    for _ in range(5):  # the same by the service's own answers, one at a time
        [position] = service.query(1, criterion, "sequential")
        positions.append(position)
        service.observe(position, int(service.pseudo_labels()[position]))
    np.testing.assert_array_equal(chosen, network.candidates[positions])
