"""CoreSet and BADGE: by hand, against slow definitions, and against scikit-activeml's implementations."""

import numpy as np
import pytest
import torch
from skactiveml import pool as published
from skactiveml.base import SkactivemlClassifier
from torch import nn

from common.losses import LOSSES
from pipeline.queries import select_top
from pipeline.queries.badge import GradientEmbedding, k_means_plus_plus
from pipeline.queries.coreset import k_center_greedy
from pipeline.queries.distances import rounded
from trainer.targets import one_hot


class Replay:
    """Stands in for a generator: draws what it is told to and remembers the probabilities."""

    def __init__(self, draws):
        self.draws, self.probabilities = list(draws), []

    def choice(self, size, p):
        assert len(p) == size
        self.probabilities.append(p)
        return self.draws.pop(0)


# --- CoreSet


LINE = np.array([[1.0], [10.0], [4.0], [6.0], [10.0]])
# From the center 0 the distances are 1, 10, 4, 6, 10: the first 10 is chosen. Then 1, -, 4, 4, 0: the first 4.
# Then 1, -, -, 2, 0: the 6. Then the 1, and last the copy of the first.


@pytest.mark.parametrize(("n", "chosen"), [(1, [1]), (2, [1, 2]), (4, [1, 2, 3, 0]), (5, [1, 2, 3, 0, 4])])
def test_k_center_greedy_by_hand(n, chosen):
    distances = k_center_greedy(LINE, np.zeros((1, 1)), n)
    after = {1: [1, 10, 4, 4, 0], 2: [1, 10, 4, 2, 0]}.get(n, [1, 10, 4, 2, 0])
    np.testing.assert_allclose(distances, after, atol=1e-12)
    np.testing.assert_array_equal(select_top(np.arange(5), distances, n).indices, chosen)


def slow_k_center(points, centers, n):
    """The definition, with every distance computed anew."""
    chosen, centers = [], list(centers)
    for _ in range(n):
        nearest = [min(np.linalg.norm(p - c) for c in centers) for p in points]
        left = [i for i in range(len(points)) if i not in chosen]
        chosen.append(max(left, key=lambda i: nearest[i]))  # `max` takes the first of equals
        centers.append(points[chosen[-1]])
    return chosen


@pytest.mark.parametrize("seed", range(4))
def test_k_center_greedy_equals_its_definition_and_its_scores_rank_it(seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(40, 6)).astype(np.float32) + 3
    original = np.arange(40)
    original[[5, 17, 30]] = 4, 4, 29
    points = points[original]  # which of two copies comes first is up to rounding
    centers = np.vstack([rng.normal(size=(3, 6)).astype(np.float32) + 3, points[:1]])
    for n in (1, 7, 36, 40):
        distances = k_center_greedy(points, centers, n)
        ranked = select_top(np.arange(40), distances, n)
        expected = slow_k_center(points.astype(np.float64), centers.astype(np.float64), n)
        np.testing.assert_array_equal(original[ranked.indices], original[expected])
    assert original[ranked.indices[-4:]].tolist() == [0, 4, 4, 29]  # copies, and that of a labelled one, come last
    assert (ranked.scores[-4:] == 0).all()


@pytest.mark.parametrize("seed", range(20))
def test_ties_are_broken_by_the_candidates_order_as_select_top_does(seed):
    half = np.random.default_rng(seed).integers(-3, 4, size=(15, 2)).astype(float)
    points = np.vstack([half, -half])  # whole numbers around 0: distances are exact, and most occur several times
    chosen = slow_k_center(points, np.zeros((1, 2)), 30)
    for n in (3, 11, 30):
        ranked = select_top(np.arange(30), k_center_greedy(points, np.zeros((1, 2)), n), n)
        assert ranked.indices.tolist() == chosen[:n]
        assert n < 30 or len(set(ranked.scores)) < 25


@pytest.mark.parametrize("seed", range(10))
def test_of_points_at_equal_distances_the_first_is_taken_wherever_their_mean_lies(seed):
    rng = np.random.default_rng(seed)
    points, centers = (rng.integers(-2, 3, size=(n, 3)).astype(float) for n in (11, 2))  # a mean of thirds, of 11ths
    for n in (3, 11):
        ranked = select_top(np.arange(11), k_center_greedy(points, centers, n), n)
        assert ranked.indices.tolist() == slow_k_center(points, centers, 11)[:n]


def test_numbers_that_differ_by_rounding_are_equal():
    x = np.array([0.0, 1.0, -3.0, 0.1 + 0.2, 1e-300, np.inf, -np.inf])
    np.testing.assert_array_equal(rounded(x[1:4] * (1 + 2e-16)), rounded(x[1:4] * (1 - 2e-16)))
    np.testing.assert_allclose(rounded(x), x, rtol=5e-13)
    assert rounded(np.array([1 + 2e-12])) > rounded(np.array([1.0]))


def test_more_centers_than_a_block_and_far_from_the_origin():
    rng = np.random.default_rng(0)
    points, centers = rng.normal(size=(20, 3)), rng.normal(size=(700, 3))
    chosen = select_top(np.arange(20), k_center_greedy(points, centers, 9), 9).indices
    assert chosen.tolist() == slow_k_center(points, centers, 9)
    far = select_top(np.arange(20), k_center_greedy(points + 1e5, centers + 1e5, 9), 9).indices
    np.testing.assert_array_equal(far, chosen)


@pytest.mark.parametrize("seed", range(5))
def test_coreset_chooses_what_scikit_activeml_does(seed):
    rng = np.random.default_rng(seed)
    points, centers = rng.normal(size=(50, 5)), rng.normal(size=(7, 5))
    X, y = np.vstack([centers, points]), np.r_[np.zeros(7), np.full(50, np.nan)]
    theirs, utilities = published.CoreSet(random_state=0).query(X, y, batch_size=15, return_utilities=True)
    mine = select_top(np.arange(50), k_center_greedy(points, centers, 15), 15)
    np.testing.assert_array_equal(mine.indices + 7, theirs)
    np.testing.assert_allclose(mine.scores, utilities[np.arange(15), theirs], rtol=1e-9)
    left = np.setdiff1d(np.arange(50), mine.indices[:-1])
    at_the_end = k_center_greedy(points, centers, 14)[left]
    np.testing.assert_allclose(at_the_end, utilities[14, left + 7], rtol=1e-9)


# --- BADGE

# Two classes, cross-entropy: p = (.75, .25), (.5, .5), (.25, .75), (.5, .5), so a = p - onehot(ŷ) =
# (-.25, .25), (-.5, .5), (.25, -.25), (-.5, .5); with h = (4, 0), (2, 0), (0, 4), (0, 6) the embeddings a ⊗ h are
# ((-1, 0), (1, 0)) twice, ((0, 1), (0, -1)) and ((0, -3), (0, 3)); their squared norms are 2, 2, 2, 18.
OUTPUTS = np.log([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75], [0.5, 0.5]])
FEATURES = np.array([[4.0, 0], [2, 0], [0, 4], [0, 6]])


def test_gradient_embeddings_by_hand():
    embedding = GradientEmbedding.of(FEATURES, OUTPUTS, "cross-entropy")
    np.testing.assert_allclose(embedding.squared_norms, [2, 2, 2, 18])
    np.testing.assert_allclose(embedding.squared_distances(3), [20, 20, 32, 0])
    np.testing.assert_allclose(embedding.squared_distances(0), [0, 0, 4, 20])
    assert embedding.squared_distances(0)[1] == 0  # equal gradients of different factors


def test_l2_gradients_by_hand():
    f = np.array([[0.5, 1.5, 0.0, 0.0]])  # ŷ is class 1; f - y
    np.testing.assert_allclose(GradientEmbedding.of(np.ones((1, 1)), f, "l2").a, [[0.5, 0.5, 0, 0]])


def test_k_means_plus_plus_by_hand():
    embedding = GradientEmbedding.of(FEATURES, OUTPUTS, "cross-entropy")
    draws = Replay([2, 0, 1])
    assert k_means_plus_plus(embedding, 4, draws).tolist() == [3, 2, 0, 1]  # the longest is first
    first, second, last = draws.probabilities
    np.testing.assert_allclose(first, [20 / 72, 20 / 72, 32 / 72, 0])
    np.testing.assert_allclose(second, [0.5, 0.5, 0, 0])
    np.testing.assert_array_equal(last, [0, 1, 0, 0])  # what coincides with a center is all that is left


def test_k_means_plus_plus_draws_with_those_probabilities():
    embedding = GradientEmbedding.of(FEATURES, OUTPUTS, "cross-entropy")
    rng = np.random.default_rng(0)
    draws = 3000
    counts = np.bincount([k_means_plus_plus(embedding, 2, rng)[1] for _ in range(draws)], minlength=4)
    p = np.array([20, 20, 32, 0]) / 72
    assert (np.abs(counts - draws * p) <= 4 * np.sqrt(draws * p * (1 - p))).all()


def random_network(seed, U=30, d=6, C=4):
    rng = np.random.default_rng(seed)
    h = rng.normal(size=(U, d)).astype(np.float32)
    head = nn.Linear(d, C)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(rng.normal(size=(C, d))))
    return h, head


@pytest.mark.parametrize("loss", LOSSES)
def test_distances_are_those_of_the_training_losses_gradients(loss):
    h, head = random_network(0)
    outputs = head(torch.from_numpy(h)).detach().numpy()
    gradients = []
    for i in range(len(h)):
        head.zero_grad()
        f = head(torch.from_numpy(h[i : i + 1]))
        label = f.detach().numpy().argmax(1)
        LOSSES[loss].value(f, torch.from_numpy(one_hot(label, 4))).backward()
        gradients.append(head.weight.grad.numpy().astype(np.float64).ravel())
    G = np.array(gradients)
    embedding = GradientEmbedding.of(h, outputs, loss)
    # A loss's own factor, such as l2's 2 / C of a mean over classes, is left out: one number for every candidate.
    factor = np.sqrt((G**2).sum() / np.sum(embedding.squared_norms))
    for j in (0, 7, 29):
        expected = ((G - G[j]) ** 2).sum(1) / factor**2
        np.testing.assert_allclose(embedding.squared_distances(j), expected, rtol=1e-4, atol=1e-6)


def test_copies_are_at_a_distance_of_zero_and_nothing_else_is():
    rng = np.random.default_rng(0)
    h, f = rng.normal(size=(61, 37)).astype(np.float32) + 5, rng.normal(size=(61, 10)).astype(np.float32)
    h[31:], f[31:] = h[:30] * (1 + 1e-7), f[:30]  # float32: some of these differ in the last bit
    embedding = GradientEmbedding.of(h, f, "cross-entropy")
    for j in range(61):
        zero = embedding.squared_distances(j) == 0
        assert set(np.flatnonzero(zero)) == {i for i in range(61) if i in (j, j - 31, j + 31)}


class Given(SkactivemlClassifier):
    """A classifier whose inputs are row numbers of given class probabilities and features."""

    def __init__(self, p=None, h=None, classes=None, missing_label=np.nan, cost_matrix=None, random_state=None):
        super().__init__(classes, missing_label, cost_matrix, random_state)
        self.p, self.h = p, h

    def fit(self, X, y, sample_weight=None):
        return self

    def predict_proba(self, X):
        rows = np.asarray(X)[:, 0].astype(int)
        return self.p[rows], self.h[rows]


def published_badge(p, h, n, seed):
    X = np.arange(len(p), dtype=float)[:, None]
    classifier = Given(p, h, classes=np.arange(p.shape[1]))
    return published.Badge(random_state=seed).query(
        X, np.full(len(p), np.nan), classifier, fit_clf=False, batch_size=n, return_utilities=True
    )


@pytest.mark.parametrize("seed", range(3))
def test_badge_draws_from_the_probabilities_of_scikit_activeml(seed):
    # Theirs keeps the distance from the origin, ‖g‖², among the distances to centers; the paper and its authors' code
    # do not. Near one point far from the origin no distance between samples is as long, and both are the same.
    rng = np.random.default_rng(seed)
    f = np.array([2.0, 0, 1]) + 0.1 * rng.normal(size=(25, 3))
    h = 4 + 0.1 * rng.normal(size=(25, 6))
    p = np.exp(f) / np.exp(f).sum(1, keepdims=True)
    theirs, utilities = published_badge(p, h, 8, seed)
    draws = Replay(theirs[1:])
    mine = k_means_plus_plus(GradientEmbedding.of(h, f, "cross-entropy"), 8, draws)
    np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_allclose(draws.probabilities, np.nan_to_num(utilities[1:]), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_badge_has_the_distances_of_scikit_activeml_but_for_the_origins(seed):
    h, head = random_network(seed)
    f = head(torch.from_numpy(h)).detach().numpy().astype(np.float64)
    p = np.exp(f) / np.exp(f).sum(1, keepdims=True)
    theirs, utilities = published_badge(p, h, 8, seed)
    embedding = GradientEmbedding.of(h, f, "cross-entropy")
    np.testing.assert_allclose(utilities[0], embedding.squared_norms / embedding.squared_norms.sum(), rtol=1e-6)
    assert theirs[0] == k_means_plus_plus(embedding, 1, None)[0]
    D2 = embedding.squared_norms
    for k in range(1, 8):
        D2 = np.minimum(D2, embedding.squared_distances(theirs[k - 1]))
        np.testing.assert_allclose(np.nan_to_num(utilities[k]), D2 / D2.sum(), rtol=1e-6, atol=1e-12)
