"""BALD, BatchBALD and EPIG: by hand, against slow definitions, and against scikit-activeml's implementations."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from skactiveml.pool._bald import batch_bald as published_batch_bald

from pipeline.errors import PipelineError
from pipeline.queries import batchbald as batchbald_module
from pipeline.queries import epig as epig_module
from pipeline.queries import get_strategy, validated_query
from pipeline.queries.bald import conditional_entropy, mutual_information
from pipeline.queries.batchbald import Joint, greedy_batch
from pipeline.queries.epig import predictive_information
from pipeline.queries.state import QueryState
from pipeline.run.pool import Labelled

# Four candidates, two passes, two classes; the last is a copy of the first.
#   H(.9) = 0.3250829734, so BALD of the first is ln 2 - 0.3250829734; the second has p = (.5, .5) twice: 0;
#   the third H(.75) - (H(.8) + H(.7)) / 2 = 0.5623351446 - (0.5004024235 + 0.6108643020) / 2
BY_HAND = np.array([[[0.9, 0.1], [0.1, 0.9]], [[0.5, 0.5]] * 2, [[0.8, 0.2], [0.7, 0.3]], [[0.9, 0.1], [0.1, 0.9]]])
P = BY_HAND.swapaxes(0, 1)  # [K, U, C]
ALONE = [0.3680642072, 0, 0.0067017818, 0.3680642072]


def random_p(seed, K=5, U=8, C=3, sharp=2.0):
    z = sharp * np.random.default_rng(seed).normal(size=(K, U, C))
    return np.exp(z) / np.exp(z).sum(axis=2, keepdims=True)


def H(p):
    return -sum(x * math.log(x) for x in np.ravel(p) if x > 0)


def joint_information(p, chosen):
    """The definition: every configuration of labels of the chosen, one after another."""
    K, _, C = p.shape
    configurations = itertools.product(range(C), repeat=len(chosen))
    table = [
        sum(math.prod(p[k, i, c] for i, c in zip(chosen, labels, strict=True)) for k in range(K)) / K
        for labels in configurations
    ]
    return H(table) - sum(H(p[k, i]) for k in range(K) for i in chosen) / K


def slow_greedy(p, n):
    chosen = []
    for _ in range(n):
        left = [i for i in range(p.shape[1]) if i not in chosen]
        totals = [joint_information(p, [*chosen, i]) for i in left]
        chosen.append(next(i for i, total in zip(left, totals, strict=True) if total >= max(totals) - 1e-12))
    return chosen


def state(p, *, loss="cross-entropy", seed=0):
    """A state whose passes give these probabilities: of ``l2``, outputs are what they are."""
    ids = np.arange(p.shape[1]) + 50
    outputs = np.log(np.maximum(p, 1e-300)) if loss == "cross-entropy" else p
    return QueryState(
        candidates=ids,
        labelled=Labelled(np.empty(0, int), np.empty(0, int)),
        num_classes=p.shape[2],
        loss=loss,
        rng=np.random.default_rng(seed),
        inputs=lambda ids: ids,
        evaluate=None,
        embed=None,
        linearize=None,
        sample=lambda ids, seed: outputs[:, ids - 50],
    )


def ask(name, p, n, **options):
    return validated_query(get_strategy(name), state(p, **options), n)


# --- BALD


@pytest.mark.parametrize("loss", ["cross-entropy", "l2"])
def test_bald_by_hand(loss):
    selection = ask("bald", P, 4, loss=loss)
    np.testing.assert_allclose(selection.candidate_scores, ALONE, atol=1e-9)
    assert selection.indices.tolist() == [50, 53, 52, 51]  # of equals the first


@pytest.mark.parametrize("seed", range(4))
def test_bald_equals_its_definition_and_scikit_activemls(seed):
    p = random_p(seed)
    mine = mutual_information(p)
    np.testing.assert_allclose(mine, [joint_information(p, [i]) for i in range(8)], atol=1e-12)
    np.testing.assert_allclose(mine, published_batch_bald(p, 1)[0], atol=1e-6)
    np.testing.assert_allclose(conditional_entropy(p), [sum(H(p[k, i]) for k in range(5)) / 5 for i in range(8)])


def test_bald_is_zero_where_the_passes_agree_and_log_k_where_each_is_sure_of_another():
    assert (mutual_information(np.tile(random_p(0, K=1), (4, 1, 1))) < 1e-15).all()
    np.testing.assert_allclose(mutual_information(np.eye(4)[:, None]), [math.log(4)])


# --- BatchBALD


@pytest.mark.parametrize(("chosen", "total"), [([0, 3], 0.5143747206), ([0, 2], 0.3704850210), ([0, 1], 0.3680642072)])
def test_joint_information_by_hand(chosen, total):
    """An exact copy of the first is still worth 0.146: its label is another draw."""
    joint = Joint.empty(2).with_label(P[:, 0], None)
    np.testing.assert_allclose(ALONE[0] + joint.gains(P[:, chosen[1:]])[0], [total], atol=1e-9)
    assert joint_information(P, chosen) == pytest.approx(total, abs=1e-9)


def test_batchbald_by_hand():
    selection = ask("batchbald", P, 3)
    assert selection.indices.tolist() == [50, 53, 52]
    assert selection.candidate_scores.tolist() == [3, 0, 1, 2]
    assert selection.figures["joint_information"] == pytest.approx(0.5158471840, abs=1e-9)
    assert selection.figures["most_information"] == pytest.approx(math.log(2))
    totals = np.cumsum(greedy_batch(P, 3, None)[1])
    np.testing.assert_allclose(totals, [0.3680642072, 0.5143747206, 0.5158471840], atol=1e-9)


CASES = {
    "plain": random_p(0),
    "two classes": random_p(1, C=2, U=10),
    "many passes": random_p(2, K=12, U=6),
    "one pass": random_p(3, K=1, U=5),
    "certain": np.eye(3)[np.random.default_rng(0).integers(3, size=(5, 7))],
    "one certain, one not": np.concatenate([np.eye(3)[[0, 1, 2, 0, 1]][:, None], random_p(4, U=6)], axis=1),
    "copies": random_p(5)[:, [0, 1, 0, 2, 1, 3]],
    "one candidate": random_p(6, U=1),
}


@pytest.mark.parametrize("case", CASES)
def test_batchbald_equals_its_definition(case, monkeypatch):
    p = CASES[case]
    n = min(4, p.shape[1])
    order, gains = greedy_batch(p, n, None)  # exact: nothing is drawn
    totals = [joint_information(p, order[: k + 1].tolist()) for k in range(n)]
    np.testing.assert_allclose(np.cumsum(gains), totals, atol=1e-12)
    assert (gains >= 0).all()
    assert (np.diff(gains) <= 1e-12).all()  # submodular
    if case != "certain":  # where gains tie in the definition's rounding
        assert order.tolist() == slow_greedy(p, n)
    monkeypatch.setattr(batchbald_module, "BLOCK", 1)  # candidates one at a time
    np.testing.assert_array_equal(greedy_batch(p, n, None)[0], order)


@pytest.mark.parametrize("seed", range(3))
def test_batchbald_chooses_what_scikit_activeml_does(seed):
    p = random_p(seed, K=6, U=20, C=3)
    utilities = published_batch_bald(p, 4, n_MC_samples=10_000)  # exact so far
    order, gains = greedy_batch(p, 4, None)
    assert order.tolist() == np.nanargmax(utilities, axis=1).tolist()
    np.testing.assert_allclose(np.cumsum(gains), np.nanmax(utilities, axis=1), atol=1e-5)  # theirs clips at 1e-7


def test_few_candidates_are_looked_at_where_most_cannot_be_the_best(monkeypatch):
    p, looked = random_p(0, U=400), []
    p[:, 30:] = np.tile(p[:1, 30:], (5, 1, 1)) * 0.95 + 0.05 * p[:, 30:]  # these say little
    gains = Joint.gains
    monkeypatch.setattr(batchbald_module, "BLOCK", 3 * 3 * 10)
    monkeypatch.setattr(Joint, "gains", lambda self, p: looked.append(p.shape[1]) or gains(self, p))
    order, _ = greedy_batch(p, 4, None)
    assert sum(looked) < 500
    assert set(order) < set(range(30))


def independent_estimate(p, chosen, candidate, n, rng):
    """The gain of a candidate by drawing networks and labels, one at a time; with its standard error."""
    K, _, C = p.shape
    found = []
    for _ in range(n):
        k = rng.integers(K)
        labels = [rng.choice(C, p=p[k, i]) for i in chosen]
        w = np.array([math.prod(p[j, i, y] for i, y in zip(chosen, labels, strict=True)) for j in range(K)])
        w /= w.sum()
        found.append(H(w @ p[:, candidate]) - sum(w[j] * H(p[j, candidate]) for j in range(K)))
    return np.mean(found), np.std(found) / math.sqrt(n)


@pytest.mark.parametrize("chosen", [[3], [0, 1], [0, 1, 2, 0, 1]])
def test_a_sampled_joint_equals_the_exact_one_within_its_error(chosen):
    p, M = random_p(7, K=6), 3000
    exact, rng = Joint.empty(6), np.random.default_rng(0)
    sampled = Joint(np.full(M, 1 / M), np.full((M, 6), 1 / 6), exact=False)
    for i in chosen:
        exact, sampled = exact.with_label(p[:, i], None), sampled.with_label(p[:, i], rng)
    assert exact.exact
    assert not sampled.exact
    truth, none = exact.gains(p)
    estimate, error = sampled.gains(p)
    assert not none.any()
    expected = [joint_information(p, [*chosen, i]) - joint_information(p, chosen) for i in range(8)]
    np.testing.assert_allclose(truth, expected, atol=1e-12)
    for i in (0, 4, 7):
        each = np.array([Joint(np.ones(1), w[None]).gains(p[:, [i]])[0][0] for w in sampled.W])
        assert each.mean() == pytest.approx(estimate[i])
        assert each.std() / math.sqrt(M) == pytest.approx(error[i])
    assert (np.abs(estimate - truth) < 4 * error).all()
    mean, error = independent_estimate(p, chosen, 4, 1000, rng)
    assert abs(mean - truth[4]) < 4 * error


def test_where_there_are_too_many_configurations_some_are_drawn():
    p, rng = random_p(8, K=4, U=30, C=3), np.random.default_rng(0)
    joint = Joint.empty(4)
    sizes, kinds = [], []
    for i in range(6):
        joint = joint.with_label(p[:, i], rng, most=100)
        sizes.append(len(joint.v))
        kinds.append(joint.exact)
        assert joint.v.sum() == pytest.approx(1)
        np.testing.assert_allclose(joint.W.sum(axis=1), 1)
    assert sizes == [3, 9, 27, 81, 100, 100]
    assert kinds == [True] * 4 + [False] * 2


def test_a_batch_of_all_candidates_and_what_all_of_them_tell():
    p = random_p(9, K=4, U=60, C=3)
    order, gains = greedy_batch(p, 60, np.random.default_rng(0), most=500)
    assert sorted(order.tolist()) == list(range(60))
    assert (gains >= 0).all()
    assert gains.sum() == pytest.approx(math.log(4), abs=0.1)  # nothing but the network's number is left to tell
    assert gains[-20:].max() < 1e-3


def test_once_nothing_is_left_to_tell_candidates_come_by_their_own_information():
    certain = np.eye(3)[[[0], [1], [2]]]  # [K, 1, C]: its label tells which network it is
    p = np.concatenate([certain, random_p(10, K=3, U=9)], axis=1)
    order, gains = greedy_batch(p, 10, np.random.default_rng(0))
    assert order[0] == 0
    np.testing.assert_allclose(gains, [math.log(3)] + [0] * 9, atol=1e-12)
    assert order[1:].tolist() == (1 + np.argsort(-mutual_information(p)[1:])).tolist()


def test_hundreds_of_labels_do_not_underflow():
    p = random_p(11, K=3, U=410, C=10, sharp=0.1)
    gains = greedy_batch(p, 400, np.random.default_rng(0), most=20)[1]
    assert np.isfinite(gains).all()
    assert gains[-1] > 0


# --- EPIG


def slow_epig(p, targets):
    """The definition: Kullback-Leibler divergence of the joint of two labels from the product of its margins."""
    K, U, C = p.shape
    scores = np.zeros(U)
    for i in range(U):
        for t in range(targets.shape[1]):
            for a in range(C):
                for b in range(C):
                    both = sum(p[k, i, a] * targets[k, t, b] for k in range(K)) / K
                    apart = p[:, i, a].mean() * targets[:, t, b].mean()
                    scores[i] += both * math.log(both / apart) if both > 0 else 0
    return scores / targets.shape[1]


def test_epig_by_hand():
    """Two networks, each sure: each target of which they disagree is told by a label of which they disagree, ln 2."""
    p = np.array([[[1, 0], [0, 1], [1, 0]], [[0, 1], [1, 0], [1, 0]]], float)
    np.testing.assert_allclose(predictive_information(p, p), [2 / 3 * math.log(2)] * 2 + [0], atol=1e-15)
    np.testing.assert_allclose(predictive_information(P, P[:, :1])[0], 2 * math.log(2) - H([0.41, 0.09, 0.09, 0.41]))


@pytest.mark.parametrize("seed", range(3))
def test_epig_equals_its_definition_in_blocks_too(seed, monkeypatch):
    p, targets = random_p(seed), random_p(seed + 10, U=5)
    expected = slow_epig(p, targets)
    np.testing.assert_allclose(predictive_information(p, targets), expected, atol=1e-12)
    for block in (1, 9, 30, 200):
        monkeypatch.setattr(epig_module, "BLOCK", block)
        np.testing.assert_allclose(predictive_information(p, targets), expected, atol=1e-12)


def test_epig_of_itself_alone_is_less_than_bald():
    """Data processing: a label tells of another label no more than of the network."""
    p = random_p(3)
    for i in range(8):
        own = predictive_information(p[:, [i]], p[:, [i]])[0]
        assert 0 < own < mutual_information(p)[i]


def test_epig_prefers_what_tells_of_others_where_bald_does_not():
    """One candidate splits the networks as all others do; another, an outlier, splits them in a way of its own."""
    q = np.random.default_rng(0).permutation(np.repeat([0, 1], 4))
    same = np.eye(2)[q] * 0.8 + 0.1
    outlier = np.eye(2)[np.random.default_rng(1).permutation(q)] * 0.98 + 0.01
    p = np.stack([*[same] * 6, outlier], axis=1)
    assert ask("bald", p, 1).indices.tolist() == [56]
    assert ask("epig", p, 1).indices.tolist() == [50]


def test_epig_takes_a_sample_of_many_candidates(monkeypatch):
    monkeypatch.setattr(epig_module, "TARGETS", 4)
    p = random_p(5, U=30)
    selection = ask("epig", p, 30)
    chosen = np.sort(np.random.default_rng(0).choice(30, 4, replace=False))
    np.testing.assert_allclose(selection.candidate_scores, predictive_information(p, p[:, chosen]))
    np.testing.assert_array_equal(ask("epig", p, 30).indices, selection.indices)
    assert not np.array_equal(ask("epig", p, 30, seed=1).candidate_scores, selection.candidate_scores)


# --- all three


@pytest.mark.parametrize("name", ["bald", "batchbald", "epig"])
class TestAll:
    def test_another_order_of_the_candidates_chooses_the_same(self, name):
        p, order = random_p(12, U=25), np.random.default_rng(2).permutation(25)
        first, other = ask(name, p, 4), ask(name, p[:, order], 4)
        assert (order[other.indices - 50] + 50).tolist() == first.indices.tolist()

    def test_of_copies_the_first_is_taken(self, name):
        p = random_p(13, U=1)[:, [0] * 9]
        assert ask(name, p, 5).indices.tolist() == [50, 51, 52, 53, 54]

    def test_counts(self, name):
        p = random_p(14, U=6)
        assert ask(name, p[:, :1], 1).indices.tolist() == [50]
        assert sorted(ask(name, p, 6).indices.tolist()) == list(range(50, 56))
        with pytest.raises(PipelineError, match="expected 1 to 6 samples"):
            get_strategy(name).query(state(p), 7)

    def test_probabilities_are_left_as_they_are(self, name):
        given = state(random_p(15))
        before = given.sampled_probabilities.copy()
        get_strategy(name).query(given, 5)
        np.testing.assert_array_equal(given.sampled_probabilities, before)


def test_masks_have_a_seed_of_their_own_however_much_was_drawn():
    seeds = []

    def at(seed, drawn):
        given = state(random_p(0), seed=seed)
        given.rng.random(drawn)
        object.__setattr__(given, "sample", lambda ids, seed: seeds.append(seed) or random_p(0))
        given.sampled_probabilities  # noqa: B018
        return SimpleNamespace(next=given.rng.random())

    first, later, other = at(0, 0), at(0, 100), at(1, 0)
    assert seeds[0] == seeds[1] != seeds[2]
    assert first.next == np.random.default_rng(0).random()  # nothing was drawn of the strategy's stream
    assert later.next != first.next != other.next
