"""TypiClust: by hand, against its definition in loops, and against scikit-activeml's."""

import numpy as np
import pytest
from given_state import FIRST, given_state
from skactiveml import pool as published
from skactiveml.pool._typi_clust import _typicality

from pipeline.errors import PipelineError
from pipeline.queries import get_strategy, validated_query
from pipeline.queries.clusters import k_means
from pipeline.queries.typiclust import mean_distances, most_typical

# The right angle at (0, 0) is 1 and 1 from the others, which are 1 and √2 from theirs: 1/1 and 2/(1 + √2) = 0.8284.
# With squared distances, as in the published code, it would be 1 and 2/3.
ANGLE = np.array([[0.0, 0], [1, 0], [0, 1]])


def test_typicality_by_hand():
    np.testing.assert_allclose(1 / mean_distances(ANGLE, 2), [1, 0.8284271247, 0.8284271247], atol=1e-10)
    np.testing.assert_allclose(1 / mean_distances(ANGLE, 1), [1, 1, 1], atol=1e-12)
    np.testing.assert_array_equal(mean_distances(ANGLE[:1], 0), [0])


def test_copies_are_at_a_distance_of_zero_far_from_the_origin():
    points = np.repeat(np.random.default_rng(0).normal(size=(5, 7)), 3, axis=0) + 1e4
    np.testing.assert_array_equal(mean_distances(points, 2), np.zeros(15))


# Corners of a square: 1 and 1 from the two nearest, each of them; the mean of the points is in thirds.
@pytest.mark.parametrize("far", [[[5.0, 5]], [[5.0, 5], [5, 6]]], ids=str)
def test_of_equally_typical_ones_the_first_is_taken(far):
    square = np.array([[1.0, 1], [0, 0], [1, 0], [0, 1], *far])
    assert len(set(mean_distances(square, 2)[:4])) == 1


LINE = np.array([0.0, 1, 2, 3, 4, 5, 6, 20, 21, 22, 23, 24, 25, 40, 41, 60.0])[:, None]
GROUPS = np.repeat([0, 1, 2, 3], [7, 6, 2, 1])
# Of 0 .. 6, K = min(20, 7 // 2) = 3: the mean distances are 2, 4/3, 4/3, 4/3, 4/3, 4/3, 2, the first of equals is 1;
# then K = 3 of 0 2 3 4 5 6: 2 has 1 1 2/.. = 2 and 3 and 4 away from 0 3 4 5 6: the three nearest 1, 2, 2; 3: 1, 1, 2.
# Of 20 .. 25, K = 3: 2, 4/3, 4/3, 4/3, 4/3, 2: 21.


@pytest.mark.parametrize(
    ("labelled", "n", "chosen"),
    [
        ([], 3, [1, 8, 3]),  # the largest first, then in turn
        ([0], 3, [8, 1, 10]),  # the group of a label is second
        ([0, 1, 1], 2, [1, 8]),  # and last is the one of more labels
        ([2, 2, 2, 2], 3, [1, 8, 13]),  # labels count for a group's size: that of 2 has 6, and the last turn
        ([3, 3], 4, [1, 8, 3, 10]),  # a group of 3 is an outlier
    ],
)
def test_turns_by_hand(labelled, n, chosen):
    assert most_typical(LINE, GROUPS, np.array(labelled, int), n).tolist() == chosen


def test_small_groups_come_when_nothing_else_is_left():
    order = most_typical(LINE, GROUPS, np.array([], int), 16)
    assert sorted(order) == list(range(16))
    assert order[13:].tolist() == [13, 15, 14]  # of two, the first of equals; the one of one; what is left


def slow(points, clusters, labelled, n):
    """The definition, sample by sample."""
    left, order = list(range(len(points))), []
    size = {c: sum(clusters == c) + sum(labelled == c) for c in range(500)}
    ranked = sorted(size, key=lambda c: (sum(labelled == c), -size[c]))
    while len(order) < n:
        filled = [c for c in ranked if any(clusters[i] == c for i in left)]
        for c in [c for c in filled if size[c] > 5] or filled:
            members = [i for i in left if clusters[i] == c]
            K = min(20, len(members) // 2)

            def mean(i, members=members, K=K):
                distances = sorted(np.linalg.norm(points[i] - points[j]) for j in members if j != i)
                return sum(distances[:K]) / K if K else 0.0

            if members:
                order.append(min(members, key=mean))
                left.remove(order[-1])
    return order[:n]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("groups", "n"), [(1, 3), (4, 9), (12, 5), (12, 60)])
def test_the_definition_in_loops(seed, groups, n):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(60, 4))
    clusters, labelled = rng.integers(groups, size=60), rng.integers(groups, size=7)
    assert most_typical(points, clusters, labelled, n).tolist() == slow(points, clusters, labelled, n)


class Given:
    """Stands in for a clustering: says what it is told to."""

    def __init__(self, of, n_clusters):
        self.of = of

    def fit_predict(self, X):
        return self.of


@pytest.mark.parametrize("seed", range(5))
def test_scikit_activeml_has_the_same_typicality_and_asks_for_the_same(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.permutation([60, 55, 50, 45, 43, 41])  # so that K = 20 in all
    clusters = np.repeat(np.arange(6), sizes)
    points = rng.normal(size=(len(clusters), 5)) + 8 * rng.normal(size=(6, 5))[clusters]
    at = np.flatnonzero(clusters == 2)
    theirs = _typicality(points, at, 20)[at]
    np.testing.assert_allclose(1 / mean_distances(points[at], 20), theirs, rtol=1e-6)
    labelled = np.array([3])  # a sample of that cluster has a label
    X, y = np.vstack([points[clusters == 3][:1] + 0.01, points]), np.r_[0.0, np.full(len(points), np.nan)]
    strategy = published.TypiClust(
        random_state=0, k=20, cluster_algo=Given, cluster_algo_dict={"of": np.r_[3, clusters]}
    )
    asked = strategy.query(X, y, batch_size=5)
    assert most_typical(points, clusters, labelled, 5).tolist() == (asked - 1).tolist()


def test_which_candidates_are_asked_for_does_not_depend_on_their_order():
    rng = np.random.default_rng(0)
    points, clusters = rng.normal(size=(50, 3)), rng.integers(5, size=50)
    shuffled = rng.permutation(50)
    order = most_typical(points, clusters, np.array([1]), 12)
    assert shuffled[most_typical(points[shuffled], clusters[shuffled], np.array([1]), 12)].tolist() == order.tolist()


def test_a_copy_is_as_typical_as_its_original_and_may_be_asked_for():
    points = np.vstack([ANGLE + 5, ANGLE[:1] + 5, 9 * ANGLE[1:]])
    assert most_typical(points, np.zeros(6, int), np.array([], int), 2).tolist() == [0, 3]


def test_the_strategy_asks_for_the_middle_of_groups_without_labels():
    rng = np.random.default_rng(0)
    means = 100 * np.array([[0.0, 0], [1, 0], [0, 1]])
    features = np.vstack([mean + rng.normal(size=(15, 2)) for mean in means])
    state = given_state(features, means[:1])
    asked = validated_query(get_strategy("typiclust"), state, 2).indices - FIRST
    assert {int(i) // 15 for i in asked} == {1, 2}
    with pytest.raises(PipelineError, match="expected 1 to 45"):
        get_strategy("typiclust").query(state, 46)


def test_k_means_of_fewer_different_samples_than_clusters_warns_of_nothing():
    found = k_means(np.repeat([[0.0], [5.0]], 4, axis=0), 5, np.random.default_rng(0))
    assert len(set(found.of[:4])) == len(set(found.of[4:])) == 1
    assert found.centers.shape == (5, 1)
