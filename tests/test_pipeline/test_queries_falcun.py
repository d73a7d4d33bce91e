"""FALCUN: by hand, by the probabilities it draws with, and against scikit-activeml's where both say the same."""

import numpy as np
import pytest
from given_state import FIRST, given_state
from skactiveml import pool as published
from skactiveml.base import SkactivemlClassifier

from pipeline.errors import PipelineError
from pipeline.queries import get_strategy, validated_query
from pipeline.queries.falcun import draw_relevant, relevance


class Draws:
    """Stands in for a generator: draws what it is told to and remembers the probabilities."""

    def __init__(self, *draws):
        self.draws, self.probabilities = list(draws), []

    def choice(self, size, p):
        assert len(p) == size
        self.probabilities.append(p)
        return self.draws.pop(0)


# u = 1 - margin = 0.4, 1, 0.8 and 0.2.
P = np.array([[0.8, 0.2], [0.5, 0.5], [0.4, 0.6], [0.1, 0.9]])


def test_probabilities_by_hand():
    draws = Draws(1, 3, 0, 2)
    assert draw_relevant(P, 4, draws, gamma=2).tolist() == [1, 3, 0, 2]
    # At first δ = u, from 0.2 to 1: δ̄ = 0.25, 1, 0.75, 0.
    first = np.array([0.65, 2, 1.55, 0.2]) ** 2
    np.testing.assert_allclose(draws.probabilities[0], first / first.sum(), rtol=1e-12)
    # From (.5, .5) they are 0.6, -, 0.2, 0.8 away: δ = 0.4, -, 0.2, 0.2, δ̄ = 1, -, 0, 0.
    second = np.array([1.4, 0, 0.8, 0.2]) ** 2
    np.testing.assert_allclose(draws.probabilities[1], second / second.sum(), rtol=1e-12)
    # From (.1, .9): 1.4, -, 0.6: δ stays 0.4 and 0.2.
    third = np.array([1.4, 0, 0.8, 0]) ** 2
    np.testing.assert_allclose(draws.probabilities[2], third / third.sum(), rtol=1e-12)
    np.testing.assert_allclose(draws.probabilities[3], [0, 0, 1, 0])


@pytest.mark.parametrize(
    ("u", "distance", "expected"),
    [
        ([0.5, 0.2], [0.3, 0.1], [1.5, 0.2]),
        ([0.5, 0.2], [0.1, 0.1], [0.5, 0.2]),  # all alike
        ([0.5, 0.0], [0.0, 0.0], [1.0, 1.0]),  # nothing is unlike the chosen
        ([0.0, 0.0], [0.0, 0.0], [1.0, 1.0]),
        ([0.7], [0.7], [0.7]),
    ],
)
def test_relevance_by_hand(u, distance, expected):
    np.testing.assert_allclose(relevance(np.array(u), np.array(distance)), expected, atol=1e-12)


def test_it_draws_with_those_probabilities():
    rng, draws = np.random.default_rng(0), 3000
    counts = np.bincount([draw_relevant(P, 1, rng, gamma=2)[0] for _ in range(draws)], minlength=4)
    p = np.array([0.65, 2, 1.55, 0.2]) ** 2
    p /= p.sum()
    assert (np.abs(counts - draws * p) <= 4 * np.sqrt(draws * p * (1 - p))).all()


def slow(p, n, drawn):
    """The definition: the probabilities with which each of the given draws is made."""
    u = [1 - (sorted(row)[-1] - sorted(row)[-2]) for row in p]
    said = []
    for step in range(n):
        left = [i for i in range(len(p)) if i not in drawn[:step]]
        delta = {i: min([u[i], *(sum(abs(p[i] - p[q])) for q in drawn[:step])]) for i in left}
        low, high = min(delta.values()), max(delta.values())
        weights = {i: (u[i] + (delta[i] - low) / (high - low)) ** 10 for i in left}
        said.append([weights.get(i, 0) / sum(weights.values()) for i in range(len(p))])
    return said


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("U", "C", "n"), [(20, 3, 6), (9, 2, 7), (40, 10, 12)])
def test_the_definition_in_loops(seed, U, C, n):
    rng = np.random.default_rng(seed)
    p, drawn = rng.dirichlet(np.ones(C), U), rng.permutation(U)[:n].tolist()
    draws = Draws(*drawn)
    assert draw_relevant(p, n, draws).tolist() == drawn
    np.testing.assert_allclose(draws.probabilities, slow(p, n, drawn), rtol=1e-9, atol=1e-15)


class Given(SkactivemlClassifier):
    """A classifier whose inputs are row numbers of given class probabilities."""

    def __init__(self, p=None, classes=None, missing_label=np.nan, cost_matrix=None, random_state=None):
        super().__init__(classes, missing_label, cost_matrix, random_state)
        self.p = p

    def fit(self, X, y, sample_weight=None):
        return self

    def predict_proba(self, X):
        return self.p[np.asarray(X)[:, 0].astype(int)]


@pytest.mark.parametrize("seed", range(5))
def test_scikit_activeml_draws_the_first_two_with_the_same_probabilities(seed):
    # Theirs does not scale the first δ, scales the next over what was chosen too, and goes on with scaled ones.
    # Where u spans [0, 1] and every sample has a copy, both say the same of the first two.
    rng = np.random.default_rng(seed)
    p = np.vstack([rng.dirichlet(np.ones(3), 12), [[1, 0, 0], [0.5, 0.5, 0]]])
    p = np.repeat(p, 2, axis=0)
    X = np.arange(len(p), dtype=float)[:, None]
    theirs, utilities = published.Falcun(random_state=seed).query(
        X, np.full(len(p), np.nan), Given(p, classes=np.arange(3)), fit_clf=False, batch_size=2, return_utilities=True
    )
    draws = Draws(*theirs)
    draw_relevant(p, 2, draws)
    np.testing.assert_allclose(draws.probabilities, np.nan_to_num(utilities), rtol=1e-9, atol=1e-15)


def test_copies_of_the_chosen_are_less_likely_but_not_impossible():
    draws = Draws(0, 1)
    draw_relevant(np.array([[0.6, 0.4], [0.6, 0.4], [0.4, 0.6]]), 2, draws)
    assert draws.probabilities[0].tolist() == pytest.approx([1 / 3] * 3)
    assert draws.probabilities[1][1] == pytest.approx(0.8**10 / (0.8**10 + 1.8**10))


def test_the_strategy_draws_from_the_states_probabilities_and_stream():
    outputs = np.random.default_rng(0).normal(size=(30, 3))
    state = given_state(outputs=outputs)
    p = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    asked = validated_query(get_strategy("falcun"), state, 8).indices - FIRST
    assert asked.tolist() == draw_relevant(p, 8, np.random.default_rng(0)).tolist()
    assert (
        asked.tolist()
        != (validated_query(get_strategy("falcun"), given_state(outputs=outputs, seed=1), 8).indices - FIRST).tolist()
    )
    with pytest.raises(PipelineError, match="expected 1 to 30"):
        get_strategy("falcun").query(state, 31)
