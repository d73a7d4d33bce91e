"""ProbCover: by hand, against its definition in loops, and against scikit-activeml's."""

import numpy as np
import pytest
from given_state import FIRST, given_state
from skactiveml import pool as published

from pipeline.errors import PipelineError
from pipeline.queries import get_strategy, validated_query
from pipeline.queries.probcover import greedy_cover, pure_radius

# Within 1 of (0, 0) lie two others, (5, 5) and (5, 6) are 1 apart, and (9, 9) is alone.
POINTS = np.array([[0.0, 0], [1, 0], [0, 1], [5, 5], [5, 6], [9, 9]])
JUST_ABOVE_1 = np.nextafter(1, 2)


@pytest.mark.parametrize(
    ("radius", "n", "chosen"),
    [
        (JUST_ABOVE_1, 3, [0, 3, 5]),  # they cover 3, 2 and 1
        (JUST_ABOVE_1, 6, [0, 3, 5, 1, 2, 4]),  # all is covered, and what is left as good as the first
        (1.0, 3, [0, 1, 2]),  # the ball is open: each covers itself alone
        (100.0, 2, [0, 1]),
        (np.inf, 2, [0, 1]),
    ],
)
def test_greedy_cover_by_hand(radius, n, chosen):
    assert greedy_cover(POINTS, 0, radius, n).tolist() == chosen


def test_what_labelled_samples_cover_counts_for_nothing_by_hand():
    labelled = np.array([[0.5, 0.0]])  # covers (0, 0) and (1, 0)
    chosen = greedy_cover(np.vstack([labelled, POINTS]), 1, JUST_ABOVE_1, 3)
    assert chosen.tolist() == [3, 0, 5]  # two new ones; of (0, 1), that (0, 0) covers too, the first; (9, 9)


def test_the_ball_is_open_where_the_radius_is_a_distance_that_has_no_exact_root():
    diagonal = np.array([[0.0, 0], [1, 1], [5, 5]])  # √2² is above 2
    radius = pure_radius(diagonal, np.array([0, 1, 1]), 0.5)
    assert radius == pytest.approx(np.sqrt(2))
    assert greedy_cover(diagonal, 0, radius, 3).tolist() == [0, 1, 2]  # each covers itself alone


# The nearest of another class is 3, 2, 1, 1 and 7 away.
LINE, CLASSES = np.array([0.0, 1, 2, 3, 10])[:, None], np.array([0, 0, 0, 1, 1])


@pytest.mark.parametrize(("purity", "radius"), [(0.95, 1), (0.8, 1), (0.6, 2), (0.4, 3), (0.2, 8)])
def test_pure_radius_by_hand(purity, radius):
    assert pure_radius(LINE, CLASSES, purity) == pytest.approx(radius)
    within = np.abs(LINE - LINE.T) < radius
    pure = [len(set(CLASSES[row])) == 1 for row in within]
    assert np.mean(pure) >= purity  # at the radius itself
    if radius < 8:
        more = [len(set(CLASSES[row])) == 1 for row in np.abs(LINE - LINE.T) < radius + 0.5]
        assert np.mean(more) < purity


def test_nothing_limits_the_radius_of_one_class():
    assert pure_radius(LINE, np.zeros(5, int)) == np.inf


def slow(points, labelled, radius, n):
    """The definition, ball by ball."""
    N = len(points)
    balls = [{j for j in range(N) if np.linalg.norm(points[i] - points[j]) < radius} for i in range(N)]
    covered, order = set().union(*balls[:labelled]), []
    for _ in range(n):
        left = [i for i in range(labelled, N) if i not in order]
        order.append(max(left, key=lambda i: len(balls[i] - covered)))  # `max` takes the first of equals
        covered |= balls[order[-1]]
    return [i - labelled for i in order]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("labelled", "radius", "n"), [(0, 0.5, 9), (4, 0.9, 9), (1, 0.2, 40), (3, 2.0, 1)])
def test_the_definition_in_loops(seed, labelled, radius, n, monkeypatch):
    monkeypatch.setattr("pipeline.queries.probcover.BLOCK", 16)
    points = np.random.default_rng(seed).normal(size=(labelled + 50, 2))
    assert greedy_cover(points, labelled, radius, n).tolist() == slow(points, labelled, radius, n)


class Given:
    """Stands in for a clustering: says what it is told to."""

    def __init__(self, of, n_clusters):
        self.of = of

    def fit_predict(self, X):
        return self.of


@pytest.mark.parametrize("seed", range(5))
def test_scikit_activeml_covers_alike_and_its_best_radius_of_a_grid_is_just_below(seed):
    rng = np.random.default_rng(seed)
    classes = rng.integers(3, size=80)
    points = rng.normal(size=(80, 3)) + 3 * rng.normal(size=(3, 3))[classes]
    labelled, y = 6, np.r_[np.zeros(6), np.full(74, np.nan)]
    radius = pure_radius(points, classes)
    deltas = np.linspace(0, 1.7 * radius, 4001)
    strategy = published.ProbCover(
        n_classes=3, deltas=deltas, cluster_algo=Given, cluster_algo_dict={"of": classes}, random_state=0
    )
    theirs, utilities = strategy.query(points, y, batch_size=10, return_utilities=True)
    assert strategy.delta_max_ == deltas[deltas < radius][-1]
    known, radius = list(range(labelled)), np.nextafter(strategy.delta_max_, np.inf)  # where its balls are closed
    for asked, gains in zip(theirs.tolist(), utilities, strict=True):  # it draws among equals, so step by step
        left = np.setdiff1d(np.arange(80), known)
        [mine] = greedy_cover(points[[*known, *left]], len(known), radius, 1)
        assert gains[left[mine]] == np.nanmax(gains)
        known.append(asked)


def test_which_candidates_are_asked_for_does_not_depend_on_their_order():
    points = np.random.default_rng(1).normal(size=(60, 2))
    shuffled = np.random.default_rng(2).permutation(60)
    for n in (1, 2):  # no ties so early
        order = greedy_cover(points, 0, 0.8, n)
        assert shuffled[greedy_cover(points[shuffled], 0, 0.8, n)].tolist() == order.tolist()


def test_copies_of_what_is_labelled_or_chosen_cover_nothing_new():
    points = np.vstack([POINTS[3:4], POINTS, POINTS])  # (5, 5) is labelled, and every candidate has a copy
    order = greedy_cover(points, 1, JUST_ABOVE_1, 12)
    assert order[:2].tolist() == [0, 5]
    assert order[2:].tolist() == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11]


def test_the_strategy_asks_for_the_middle_of_dense_groups_and_says_the_radius():
    rng = np.random.default_rng(0)
    means = 100 * np.array([[0.0, 0], [1, 0], [0, 1]])
    features = np.vstack([mean + rng.normal(size=(15, 2)) for mean in means])
    selection = validated_query(get_strategy("probcover"), given_state(features, means[:1]), 2)
    assert {int(i - FIRST) // 15 for i in selection.indices} == {1, 2}
    assert 80 < selection.figures["radius"] < 120
    with pytest.raises(PipelineError, match="expected 1 to 45"):
        get_strategy("probcover").query(given_state(features, means[:1]), 46)


def test_no_radius_is_said_where_nothing_limits_it():
    selection = validated_query(get_strategy("probcover"), given_state(np.ones((4, 2)), np.ones((1, 2))), 4)
    assert selection.figures == {}
    assert selection.indices.tolist() == [50, 51, 52, 53]
