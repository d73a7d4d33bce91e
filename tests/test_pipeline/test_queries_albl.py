"""ALBL: EXP4.P by hand and against a slow one of this file's own, its reward, and what it comes to trust."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from pipeline.queries import get_strategy, select_top, validated_query
from pipeline.queries.albl import DELTA, ENDLESS, Albl, Bandit, Query, reward
from pipeline.queries.base import QueryStrategy
from pipeline.queries.state import QueryState
from pipeline.run.pool import Labelled

# Two arms, one sure of x0, one that asks for x1 or x2 with probability 1/2 each; T = 10; x0 is asked, r = 0.8.
#   p_min = √(ln 2 / 20) = 0.1861648706; w = (1, 1), so p = (.5, .5) and q = (.5, .25, .25); r̂ = (0.8/.5, 0)
#   w = exp(p_min/2 · (r̂ + 2 √(ln 20 / 20))), √(ln 20 / 20) = 0.3870228


def test_one_round_by_hand():
    bandit, advice = Bandit(2, 10), np.array([[1, 0, 0], [0, 0.5, 0.5]])
    assert bandit.p_min == pytest.approx(0.1861648706)
    p = bandit.probabilities(np.ones(2))
    np.testing.assert_allclose(p, [0.5, 0.5])
    q = p @ advice
    np.testing.assert_allclose(q, [0.5, 0.25, 0.25])
    r_hat = 0.8 * advice[:, 0] / q[0]
    np.testing.assert_allclose(r_hat, [1.6, 0])
    w = bandit.learned(np.ones(2), p, r_hat)
    np.testing.assert_allclose(w, [1.2473009013, 1.0747091225], atol=1e-10)
    np.testing.assert_allclose(bandit.probabilities(w), [0.5233269291, 0.4766730709], atol=1e-10)


@pytest.mark.parametrize(("K", "T"), [(2, 1), (2, 2), (3, 1), (2, 1000), (5, 7)])
def test_probabilities_add_up_and_no_arm_is_ever_left(K, T):
    bandit = Bandit(K, T)
    for w in (np.ones(K), np.r_[1.0, np.zeros(K - 1)]):
        p = bandit.probabilities(w)
        assert p.sum() == pytest.approx(1)
        assert (p >= bandit.p_min - 1e-15).all()
        assert 0 < bandit.p_min <= 1 / K


class Slow:
    """EXP4.P and its reward as the papers write them, one number at a time."""

    def __init__(self, K, T):
        self.K, self.T, self.w = K, T, [1.0] * K
        self.p_min = min(1 / K, math.sqrt(math.log(K) / (K * T)))
        self.asked = []  # of every query: ids, q by id, advice by id, and how many any arm would have asked about

    def p(self):
        return [(1 - self.K * self.p_min) * w / sum(self.w) + self.p_min for w in self.w]

    def remember(self, ids, batches):
        p = self.p()
        advice = {x: [1 if x in batch else 0 for batch in batches] for x in ids}
        q = {x: sum(p[k] * advice[x][k] for k in range(self.K)) for x in ids}
        self.asked.append((ids, q, advice, len({x for batch in batches for x in batch}), p))

    def learn(self, right):
        r = 0.0
        for ids, q, _, among, _ in self.asked:
            answered = [x for x in ids if x in right]
            for x in answered:
                if right[x]:
                    r += 1 / q[x] / (among * len(answered) / len(ids)) / self.T
        ids, q, advice, _, p = self.asked[-1]
        answered = [x for x in ids if x in right]
        if not answered:
            return
        for k in range(self.K):
            r_hat = sum(r * advice[x][k] / q[x] for x in answered) / len(answered)
            bonus = math.sqrt(math.log(self.K / DELTA) / (self.K * self.T)) / p[k]
            self.w[k] *= math.exp(self.p_min / 2 * (r_hat + bonus))


class Best(QueryStrategy):
    """Asks for what comes first in an order."""

    description = source = "a test"
    needs_port = False

    def __init__(self, name, key):
        self.name, self.key = name, key

    def query(self, state, n):
        return select_top(state.candidates, np.array([self.key(int(x)) for x in state.candidates]), n)


ODD_OR_EVEN = Albl((Best("even", lambda x: -(x % 2) - x / 1e4), Best("odd", lambda x: x % 2 - x / 1e4)))
OVERLAPPING = Albl((Best("low", lambda x: -x), Best("even", lambda x: -(x % 2) - x / 1e4)))
THREE = Albl((*ODD_OR_EVEN.arms, Best("high", lambda x: x)))


class Play:
    """A run in small: every sample's class is 1, and the network says 1 of those that it is right about."""

    def __init__(self, strategy, right, cycles, n=4, U=200, seed=0, answered=lambda cycle, x: True):
        self.strategy, self.right, self.cycles, self.n, self.answered = strategy, right, cycles, n, answered
        self.left, self.labelled, self.late = list(range(U)), [500], []
        self.memory, self.seed = None, seed

    def state(self, cycle):
        return QueryState(
            candidates=np.array(self.left),
            labelled=Labelled(np.array(self.labelled), np.ones(len(self.labelled), int)),
            num_classes=2,
            loss="l2",
            rng=np.random.default_rng([self.seed, cycle]),
            inputs=lambda ids: ids,
            evaluate=lambda ids: np.array([[0.0, 1.0] if self.right(int(x)) else [1.0, 0.0] for x in ids]),
            embed=lambda ids: (ids[:, None].astype(float), None),
            linearize=None,
            memory=self.memory,
            queries=self.cycles - 1,
        )

    def __iter__(self):
        for cycle in range(self.cycles - 1):
            selection = validated_query(self.strategy, self.state(cycle), self.n)
            self.memory = json.loads(json.dumps(selection.memory))
            ids = selection.indices.tolist()
            self.left = [x for x in self.left if x not in ids]
            self.labelled += self.late + [x for x in ids if self.answered(cycle, x)]
            self.late = [x for x in ids if not self.answered(cycle, x) and x % 10 == 0]  # one cycle later
            yield selection


def probabilities(selection, strategy):
    return [selection.figures[f"probability_{arm.name}"] for arm in strategy.arms]


@pytest.mark.parametrize("strategy", [ODD_OR_EVEN, OVERLAPPING, THREE], ids=["disjoint", "overlapping", "three"])
@pytest.mark.parametrize("answers", ["all", "some", "none"])
@pytest.mark.parametrize("seed", range(2))
def test_it_equals_the_slow_one(strategy, answers, seed):
    answered = {
        "all": lambda cycle, x: True,
        "some": lambda cycle, x: (x * 7 + cycle) % 5 > 1 and cycle != 3,
        "none": lambda *_: False,
    }[answers]
    play = Play(strategy, lambda x: x % 3 > 0, cycles=9, seed=seed, answered=answered)
    slow = Slow(len(strategy.arms), 8)
    drawn = set()
    for cycle, selection in enumerate(iter(play)):
        np.testing.assert_allclose(probabilities(selection, strategy), slow.p(), rtol=1e-12)
        before = Play.state(play, cycle)  # the candidates that it chose among
        there = sorted([*before.candidates.tolist(), *selection.indices.tolist()])
        full = replace(before, candidates=np.array(there))
        batches = [arm.query(full, 4).indices.tolist() for arm in strategy.arms]
        assert selection.indices.tolist() == batches[int(selection.figures["arm"])]
        drawn.add(selection.figures["arm"])
        slow.remember(selection.indices.tolist(), batches)
        slow.learn({x: x % 3 > 0 for x in play.labelled})
    assert len(drawn) > 1
    if answers == "none":  # but for late ones, too late to teach
        np.testing.assert_allclose(probabilities(selection, strategy), 1 / len(strategy.arms))


def test_an_arm_that_brings_nothing_loses_its_weight():
    """The bandit alone: arm 0 is rewarded by 0, arm 1 by 1, each when it is drawn."""
    bandit, w, rng = Bandit(2, 400), np.ones(2), np.random.default_rng(0)
    for _ in range(400):
        p = bandit.probabilities(w)
        k = rng.choice(2, p=p)
        w = bandit.learned(w, p, np.eye(2)[k] * k / p[k])
    assert w[0] < 0.1 * w[1]
    assert bandit.p_min < bandit.probabilities(w)[0] < 0.1  # it is tried now and then


@pytest.mark.parametrize("seed", range(3))
def test_an_arm_after_whose_queries_the_network_is_wrong_loses_its_weight(seed):
    play = Play(ODD_OR_EVEN, lambda x: play.memory["queries"][-1]["ids"][0] % 2 == 1, cycles=101, n=1, seed=seed)
    shares = [probabilities(selection, ODD_OR_EVEN)[0] for selection in play]
    assert shares[0] == 0.5
    assert np.mean(shares[-10:]) < 0.35
    assert play.memory["weights"][1] == 1 > 2 * play.memory["weights"][0]


def test_an_arm_is_paid_for_what_others_asked():
    """Of the paper's reward, which is of all queries so far: to ask what the network fails at hardly costs an arm."""
    play = Play(ODD_OR_EVEN, lambda x: x % 2 == 1, cycles=41, n=2)
    *_, last = play
    assert probabilities(last, ODD_OR_EVEN)[0] > 0.4


def test_the_reward_by_hand():
    # x1 was wanted by one arm of p = .25, x2 by both: q = .25, 1. x3 has no answer. 5 samples were wanted by any arm.
    first = Query([1, 2, 3], [[1, 1, 1], [0, 1, 0]], [0.25, 0.75], 5)
    second = Query([4], [[1], [1]], [0.5, 0.5], 1)
    assert reward([first], {1: True, 2: True}, 10) == pytest.approx((4 + 1) / (5 * 2 / 3) / 10)
    assert reward([first], {1: False, 2: True}, 10) == pytest.approx(1 / (5 * 2 / 3) / 10)
    assert reward([first], {1: False, 9: True}, 10) == 0
    assert reward([first], {}, 10) == 0
    assert reward([first, second], {4: True}, 10) == pytest.approx(1 / 10)
    assert reward([first, second], {1: True, 4: True}, 10) == pytest.approx(4 / (5 / 3) / 10 + 1 / 10)


def test_on_average_the_reward_is_the_accuracy_on_all_that_the_arms_would_ask():
    """What the importance weights are for, Σ [right] / q over the drawn arm's batch, over the number of them all."""
    batches, right = [[1, 2, 3], [3, 4, 5]], {1: True, 2: False, 3: True, 4: True, 5: False}
    p = np.array([0.3, 0.7])
    mean = 0.0
    for k, batch in enumerate(batches):
        advice = [[int(x in one) for x in batch] for one in batches]
        mean += p[k] * reward([Query(batch, advice, p.tolist(), 5)], right, 1)
    assert mean == pytest.approx(3 / 5)


def test_an_answer_that_comes_late_counts_from_then_on():
    play = Play(ODD_OR_EVEN, lambda x: True, cycles=6, answered=lambda cycle, x: cycle > 0)
    rewards = [selection.figures.get("reward") for selection in play]
    assert rewards[0] is None  # nothing was asked yet
    assert rewards[1] is None  # nothing was answered
    assert rewards[2] is not None


def test_without_an_end_the_bandit_is_told_a_number_of_its_own():
    play = Play(ODD_OR_EVEN, lambda x: True, cycles=3)
    selection = validated_query(ODD_OR_EVEN, replace(play.state(0), queries=None), 4)
    queried = json.loads(json.dumps(selection.memory))
    play.labelled += selection.indices.tolist()
    second = validated_query(ODD_OR_EVEN, replace(play.state(1), queries=None, memory=queried), 4)
    bandit = Bandit(2, ENDLESS)
    k = int(selection.figures["arm"])
    r = 1 / 0.5 * 4 / 8 / ENDLESS
    w = bandit.learned(np.ones(2), np.full(2, 0.5), np.eye(2)[k] * r / 0.5)
    np.testing.assert_allclose(probabilities(second, ODD_OR_EVEN), bandit.probabilities(w), rtol=1e-12)


def test_the_built_in_one_has_the_arms_of_the_papers_comparison():
    strategy = get_strategy("albl")
    assert [arm.name for arm in strategy.arms] == ["coreset", "least-confidence"]
    assert strategy.remembers
    assert strategy.needs_features
