"""DropQuery: by hand, against its definition in loops, and against scikit-activeml's."""

import numpy as np
import pytest
from given_state import FIRST, given_state
from skactiveml import pool as published
from skactiveml.base import SkactivemlClassifier
from sklearn.cluster import KMeans

from pipeline.errors import PipelineError
from pipeline.queries import get_strategy, validated_query
from pipeline.queries.dropquery import changed_passes, most_changed, nearest_to_each


class Masks:
    """Stands in for a generator: features that are listed are dropped."""

    def __init__(self, *dropped):
        self.dropped = list(dropped)

    def random(self, shape):
        numbers = np.full(shape, 0.9)
        for sample, feature in self.dropped.pop(0):
            numbers[sample, feature] = 0.1
        return numbers


W, b = np.array([[1.0, 0], [0, 1]]), np.array([0.0, 0.5])
# Outputs are (h_0, h_1 + 0.5): classes 0, 1 and 0. Kept features count 4 times: without h_0 of the first, (0, 4 + 0.5);
# without h_1 of the second, (4, 0.5); the third without both, (0, 0.5), changes
# since biases are never dropped.  So does the fourth, (0.4, 0.6), when nothing is dropped: (1.6, 0.9).
H = np.array([[2.0, 1], [1, 1], [3, 0], [0.4, 0.1]])


def test_changed_passes_by_hand():
    masks = Masks([(0, 0)], [(1, 1), (2, 0), (2, 1)], [(0, 0), (2, 1)])
    assert changed_passes(H, W, b, masks).tolist() == [2, 1, 1, 3]
    assert changed_passes(H, W, b, Masks([]), passes=1).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("changed", "n", "kept"),
    [
        ([2, 1, 3, 0, 2], 1, [0, 2, 4]),  # more than half of 3
        ([2, 1, 3, 0, 2], 4, [0, 1, 2, 4]),  # too few: those of most changes are added
        ([0, 1, 0, 1, 0], 3, [0, 1, 3]),  # of equals the first
        ([0, 0, 0, 0, 0], 5, [0, 1, 2, 3, 4]),
    ],
)
def test_most_changed_by_hand(changed, n, kept):
    assert most_changed(np.array(changed), n).tolist() == kept


def test_the_nearest_to_each_center_by_hand():
    points = np.array([[0.0], [1], [4], [5], [1]])
    assert nearest_to_each(points, np.array([[1.0], [4.5], [1.2], [0.9]])).tolist() == [1, 2, 4, 0]


def test_masks_drop_three_quarters_of_the_features():
    h = np.random.default_rng(0).normal(size=(4000, 8))
    W = np.random.default_rng(1).normal(size=(3, 8))
    rng = np.random.default_rng(2)
    mask = np.random.default_rng(2).random((4000, 8)) >= 0.75
    assert abs(mask.mean() - 0.25) < 0.01
    clean, dropped = (np.array([max(range(3), key=(W @ row).__getitem__) for row in rows]) for rows in (h, h * mask))
    assert changed_passes(h, W, np.zeros(3), rng, passes=1).tolist() == (clean != dropped).tolist()


class Linear(SkactivemlClassifier):
    """A classifier of given weights without biases: how its inputs are scaled does not matter."""

    def __init__(self, W=None, classes=None, missing_label=np.nan, cost_matrix=None, random_state=None):
        super().__init__(classes, missing_label, cost_matrix, random_state)
        self.W = W

    def fit(self, X, y, sample_weight=None):
        return self

    def predict_proba(self, X):
        raise NotImplementedError

    def predict(self, X):
        self.seen = [*getattr(self, "seen", []), X.copy()]
        return (X @ self.W.T).argmax(1)


class Replay:
    """Stands in for a generator: drops what another dropped."""

    def __init__(self, seen):
        self.seen = list(seen)

    def random(self, shape):
        return (self.seen.pop(0) != 0).astype(float)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n", [3, 8])
def test_scikit_activeml_keeps_the_same_and_asks_for_the_same(seed, n):
    rng = np.random.default_rng(seed)
    W, h = rng.normal(size=(3, 6)), rng.normal(size=(60, 6))
    h /= np.linalg.norm(h, axis=1, keepdims=True)
    settings = {"random_state": 0, "n_init": 1}
    strategy = published.DropQuery(n_dropout_samples=3, random_state=seed, cluster_algo_dict=settings)
    classifier = Linear(W, classes=np.arange(3))
    theirs, utilities = strategy.query(
        h, np.full(60, np.nan), classifier, fit_clf=False, batch_size=n, return_utilities=True
    )
    clean, *dropped = classifier.seen
    np.testing.assert_array_equal(clean, h)
    changed = changed_passes(h, W, np.zeros(3), Replay(dropped))
    kept = most_changed(changed, n)
    assert len(kept) > n
    assert kept.tolist() == np.flatnonzero(np.isfinite(utilities[0])).tolist()
    kept = np.argsort(changed / 3)[-len(kept) :]  # in the order in which theirs clusters them
    centers = KMeans(n, n_init=1, random_state=0).fit(h[kept]).cluster_centers_
    mine = kept[nearest_to_each(h[kept], centers)]
    np.testing.assert_allclose(*(np.linalg.norm(h[asked] - centers, axis=1) for asked in (mine, theirs)), rtol=1e-9)
    assert (mine == theirs).mean() > 0.5  # the center of two is as far from either, and theirs draws


def test_which_candidates_are_kept_does_not_depend_on_their_order():
    changed = np.random.default_rng(0).integers(4, size=40)
    shuffled = np.random.default_rng(1).permutation(40)
    kept = most_changed(changed, 1)
    assert sorted(shuffled[most_changed(changed[shuffled], 1)]) == kept.tolist()


def test_the_strategy_asks_for_one_of_each_group_that_depends_on_few_features():
    rng = np.random.default_rng(0)
    sure = np.tile([5.0, 5, 0, 0, 0, 0], (20, 1))  # of class 0, whichever of its two features is left
    one = np.tile([0, 0, 1.0, 0, 0, 0.9], (20, 1))  # of class 0 by one feature, and 1 where that is dropped
    other = np.tile([0, 0, 0, 1.0, 0.9, 0], (20, 1))
    features = np.vstack([sure, one, other]) + 0.001 * rng.normal(size=(60, 6))
    W = np.array([[1.0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]])
    state = given_state(features, last_layer=(W, np.array([0.0, 0.1])))
    asked = validated_query(get_strategy("dropquery"), state, 2).indices - FIRST
    assert {int(i) // 20 for i in asked} == {1, 2}
    with pytest.raises(PipelineError, match="expected 1 to 60"):
        get_strategy("dropquery").query(state, 61)


def test_copies_lie_in_one_cluster_and_follow_only_when_there_is_nothing_else():
    features = np.repeat([[1.0, 0], [0, 1]], 5, axis=0)
    state = given_state(features, last_layer=(np.eye(2), np.array([0.0, 0.0])))
    asked = validated_query(get_strategy("dropquery"), state, 10).indices - FIRST
    assert sorted(asked) == list(range(10))
    assert {int(i) // 5 for i in asked[:2]} == {0, 1}
