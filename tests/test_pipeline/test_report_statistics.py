"""Every statistic against a case worked by hand or against plain enumeration."""

import itertools
import math

import numpy as np
import pytest

from pipeline.report.balance import chance_of_balance
from pipeline.report.statistics import (
    friedman,
    holm,
    labels_to_reach,
    seeds_needed,
    smallest_corrected,
    smallest_p,
    student_t,
    wilcoxon,
)


def enumerated_p(differences):
    """The definition: of all 2^n ways to give the ranks signs, how many are at least as far from the middle."""
    moved = [d for d in differences if d != 0]
    sizes = sorted(abs(d) for d in moved)
    rank = {size: np.mean([i + 1 for i, other in enumerate(sizes) if other == size]) for size in sizes}
    ranks = [rank[abs(d)] for d in moved]
    middle = sum(ranks) / 2
    seen = abs(sum(r for r, d in zip(ranks, moved, strict=True) if d > 0) - middle)
    patterns = [
        abs(sum(itertools.compress(ranks, signs)) - middle) for signs in itertools.product((0, 1), repeat=len(ranks))
    ]
    return np.mean([far >= seen - 1e-9 for far in patterns])


def test_the_band_worked_by_hand():
    # mean 3, s = sqrt(10/4), t(0.975, 4) = 2.77645 from a table
    band = student_t([1, 2, 3, 4, 5])
    assert (band.mean, band.n) == (3, 5)
    assert band.half == pytest.approx(2.77645 * math.sqrt(2.5) / math.sqrt(5), abs=1e-5)
    assert (band.low, band.high) == (3 - band.half, 3 + band.half)


def test_one_value_has_no_band_and_none_is_refused():
    assert student_t([0.5]) == (0.5, None, 1)
    with pytest.raises(ValueError, match="at least one"):
        student_t([])


@pytest.mark.parametrize(
    "differences",
    [
        [1, 2, 3, 4, 5, 6],
        [-1, 2, 3, -4, 5, 6],
        [1, 1, -1, 2, 3, 3],
        [0, 0.5, -0.25, 0.125, 0, 0.75, 1],
        [2, -2],
        [3],
        [0.1 + 0.2, -0.3, 0.5, 0.7, -0.2, 0.9, 0.8, 0.4],  # a tie but for rounding
        list(np.random.default_rng(0).normal(0.3, 1, 10)),
    ],
)
def test_wilcoxon_is_that_of_enumeration(differences):
    test = wilcoxon(differences)
    assert test.p == pytest.approx(enumerated_p(np.round(differences, 12)), abs=1e-12)
    assert test.exact
    assert (test.n, test.zeros) == (len(differences), sum(d == 0 for d in differences))


def test_wilcoxon_knows_its_direction():
    assert [wilcoxon(d).direction for d in ([1, 2, -3, 4], [-1, -2, 3, -4], [1, -1], [0, 0])] == [1, -1, 0, 0]


def test_wilcoxon_without_any_difference_or_any_pair_says_nothing():
    assert wilcoxon([0, 0, 0]) == (3, 3, 0, 1.0, True)
    assert wilcoxon([]) == (0, 0, 0, 1.0, True)


def test_wilcoxon_admits_to_an_approximation():
    assert not wilcoxon([1.0, 1.0, *range(2, 15)]).exact
    assert wilcoxon(range(1, 30)).exact


def test_holm_worked_by_hand():
    # sorted 0.005 x 4, 0.01 x 3, 0.03 x 2, then 0.04 x 1, which may not fall below 0.06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_what_few_seeds_can_reach():
    assert (smallest_p(5), smallest_p(6), smallest_p(0)) == (0.0625, 0.03125, 1.0)
    assert smallest_corrected([6] * 3) == pytest.approx([3 / 32] * 3)
    # the pair with more seeds is first in line, so the other is no longer corrected for it
    assert smallest_corrected([6, 12]) == pytest.approx([1 / 32, 4 / 2**12])


@pytest.mark.parametrize(("tests", "seeds"), [(1, 6), (2, 7), (3, 7), (4, 8), (5, 8), (15, 10)])
def test_seeds_needed(tests, seeds):
    assert seeds_needed(tests) == seeds
    assert tests * 2 * 0.5**seeds < 0.05
    assert seeds == 6 or tests * 2 * 0.5 ** (seeds - 1) >= 0.05


def test_friedman_worked_by_hand():
    # the same order in 3 blocks: rank sums 3, 6, 9; Q = 12/(3·3·4) (9 + 36 + 81) − 3·3·4 = 6; p = exp(−Q/2)
    test = friedman(np.array([[0.9, 0.8, 0.7], [0.6, 0.5, 0.4], [0.99, 0.98, 0.1]]))
    assert test.statistic == pytest.approx(6)
    assert test.p == pytest.approx(math.exp(-3))
    assert test.ranks == (1, 2, 3)


def test_friedman_without_any_difference_is_no_crash():
    assert friedman(np.full((2, 3), 0.5)) == (0.0, 1.0, (2.0, 2.0, 2.0))


@pytest.mark.parametrize(
    ("target", "labels"), [(0.4, 10), (0.5, 10), (0.6, 15), (0.7, 20), (0.8, 110 / 3), (0.95, None)]
)
def test_labels_to_reach_worked_by_hand(target, labels):
    found = labels_to_reach([10, 20, 30, 40], [0.5, 0.7, 0.6, 0.9], target)
    assert found == (labels if labels is None else pytest.approx(labels))


def test_chance_of_a_balanced_draw():
    assert chance_of_balance(4, 2) == pytest.approx(6 / 16)
    assert chance_of_balance(5, 2) == 0
