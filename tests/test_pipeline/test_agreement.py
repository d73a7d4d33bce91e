"""Cohen's κ by hand, against scikit-learn, and where it says nothing."""

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import cohen_kappa_score

from pipeline.products.agreement import Agreement, binomial_interval, cohens_kappa, pairs_of


def test_a_case_worked_by_hand():
    # 50 samples: both yes 20, both no 15, first alone yes 5, second alone yes 10.  p_o = 35/50 = 0.7;
    # first says yes 25/50, second 30/50: p_e = 0.5 0.6 + 0.5 0.4 = 0.5; κ = (0.7 - 0.5) / 0.5 = 0.4
    found = cohens_kappa(np.array([[20, 5], [10, 15]]))
    assert (found.samples, found.agreed) == (50, 35)
    assert found.kappa == pytest.approx(0.4)
    low, high = binomial_interval(35, 50)
    assert found.low == pytest.approx((low - 0.5) / 0.5)
    assert found.high == pytest.approx((high - 0.5) / 0.5)
    assert found.low < 0.4 < found.high


@pytest.mark.parametrize("seed", range(20))
def test_kappa_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 4, 30)
    second = np.where(rng.random(30) < 0.6, first, rng.integers(0, 4, 30))
    counts = np.zeros((5, 5))  # one class that nobody uses
    np.add.at(counts, (first, second), 1)
    assert cohens_kappa(counts).kappa == pytest.approx(cohen_kappa_score(first, second))


@pytest.mark.parametrize(("counts", "expected"), [([[7, 0], [0, 0]], (7, 7)), ([[0, 0], [0, 0]], (0, 0))])
def test_one_class_alone_or_no_sample_says_nothing(counts, expected):
    assert cohens_kappa(np.array(counts)) == Agreement(*expected)


def test_one_who_says_always_the_same_agrees_by_chance():
    assert cohens_kappa(np.array([[5, 3], [0, 0]])).kappa == pytest.approx(0)


def test_few_samples_without_a_difference_prove_little():
    found = cohens_kappa(np.diag([2, 2]))
    assert found.kappa == found.high == 1
    assert found.low == pytest.approx(2 * 0.025 ** (1 / 4) - 1)  # p_o ≥ α^(1/n), of which chance is a half


def test_always_the_opposite():
    found = cohens_kappa(np.array([[0, 5], [5, 0]]))
    assert found.kappa == found.low == -1


def test_the_binomial_interval_is_where_the_tails_are_a_fortieth():
    low, high = binomial_interval(7, 10)
    assert binom.sf(6, 10, low) == pytest.approx(0.025)
    assert binom.cdf(7, 10, high) == pytest.approx(0.025)
    assert binomial_interval(0, 4)[0] == 0
    assert binomial_interval(4, 4)[1] == 1


@pytest.mark.parametrize("kappa", [0.4, 0.95])
def test_the_interval_holds_the_truth_as_often_as_it_says(kappa):
    rng, shares = np.random.default_rng(0), np.array([0.7, 0.3])
    cells = kappa * np.diag(shares) + (1 - kappa) * np.outer(shares, shares)
    tables = rng.multinomial(20, cells.ravel(), size=400).reshape(-1, 2, 2)
    found = [one for one in map(cohens_kappa, tables) if one.kappa is not None]
    assert np.mean([one.low <= kappa <= one.high for one in found]) >= 0.95


def test_pairs_are_of_samples_that_both_labelled():
    labels = {1: {"ben": 0, "anna": 1}, 2: {"anna": 1, "ben": 1}, 3: {"anna": 0}, 4: {"carl": 1, "ben": 0}}
    pairs = pairs_of(labels, 2)
    assert [(pair.first, pair.second) for pair in pairs] == [("anna", "ben"), ("ben", "carl")]
    assert pairs[0].counts.tolist() == [[0, 0], [1, 1]]
    assert pairs[1].counts.tolist() == [[0, 1], [0, 0]]
    assert pairs[0].agreement.samples == 2
