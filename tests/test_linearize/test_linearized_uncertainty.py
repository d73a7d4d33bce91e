"""Criteria of f_lin alone against their definitions, and the lazy posterior, which forms what it is asked for."""

import numpy as np
import pytest
from regression_cases import LOSSES, lazy_state_of, state_of

import cases
import reference
from linearize.choice import best
from linearize.criteria import CRITERIA, REFERENCES, Measure

L, U, C = 9, 14, 4
UNCERTAINTY = [name for name, criterion in CRITERIA.items() if criterion.needs == "mean"]
P = {"simplex": reference.naive_simplex, "softmax": reference.naive_softmax}
MEASURES = {
    "margin-lin": lambda p: sorted(p)[-2] - sorted(p)[-1],
    "entropy-lin": reference.naive_entropy,
    "least-confidence-lin": lambda p: 1 - max(p),
}


def problem(seed=0, copies=(), classes=C):
    """Θ, outputs and targets; ``copies`` maps pool points to those, labelled ones negative, that they repeat."""
    theta, f, Y = cases.random_regression(seed, L, U, classes)
    index = np.arange(L + U)
    for copy, original in dict(copies).items():
        index[L + copy] = L + original
    return theta[np.ix_(index, index)], f[index], Y


@pytest.mark.parametrize("name", UNCERTAINTY)
@pytest.mark.parametrize("probabilities", P)
@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_scores_equal_their_definitions(name, probabilities, classes, ridge):
    theta, f, Y = problem(classes=classes)
    f_lin = reference.solve_eq_11(theta, f, Y, list(range(L)), ridge)[L:]
    expected = [MEASURES[name](row) for row in P[probabilities](f_lin)]
    for reference_name in REFERENCES:
        for state in (lazy_state_of(theta, f, Y, ridge), state_of(theta, f, Y, ridge)):
            scores = CRITERIA[name].scores(state, LOSSES[probabilities], Measure(reference_name))
            np.testing.assert_allclose(scores, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", ["emoc", "eer"])
def test_expectations_are_taken_over_the_softmax_where_that_is_asked_for(name):
    theta, f, Y = problem()
    expected = reference.naive_expectation(theta, f, Y, L, 0.0, name, "network", reference.naive_softmax)
    scores = CRITERIA[name].scores(state_of(theta, f, Y, 0.0), LOSSES["softmax"], Measure("network"))
    np.testing.assert_allclose(scores, expected, rtol=1e-8)


@pytest.mark.parametrize("name", UNCERTAINTY)
def test_a_labelled_candidate_scores_least(name):
    theta, f, Y = problem(copies={3: 2 - L})
    state = lazy_state_of(theta, f, Y, 0.0, redundant=1e-6)
    scores = CRITERIA[name].scores(state)
    assert np.flatnonzero(state.redundant).tolist() == [3]
    assert scores[3] == scores.min() == (-1 if name == "margin-lin" else 0)


@pytest.mark.parametrize("name", UNCERTAINTY)
@pytest.mark.parametrize("ridge", [0.0, 1e-3, 0.3])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_lazy_posterior_equals_the_dense_one_and_builds_only_what_it_is_asked_for(name, ridge, seed):
    data = problem(seed, copies={5: 2, 7: 1 - L})
    asked = []
    fast, slow = lazy_state_of(*data, ridge, asked), state_of(*data, ridge)
    rng = np.random.default_rng(seed)
    for step in range(U):
        scores, expected = (CRITERIA[name].scores(one) for one in (fast, slow))
        np.testing.assert_allclose(scores, expected, rtol=1e-8, atol=1e-8)
        candidate = best(slow, expected)[0]
        assert best(fast, scores)[0] == candidate
        y = np.eye(C)[rng.integers(C)]
        fast, slow = (one.condition(candidate, y) for one in (fast, slow))
        left = ~slow.answered
        np.testing.assert_allclose(fast.mean[left], slow.mean[left], rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(fast.u, slow.u, rtol=1e-7)
        np.testing.assert_array_equal(fast.redundant, slow.redundant)
        assert len(asked) <= step + 1
    assert asked == slow.told()
    assert not {5, 2} <= set(asked)  # of copies one is asked
    assert 7 not in asked  # it is labelled already


@pytest.mark.parametrize("make", [lazy_state_of, state_of])
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_weights_predict_any_input_as_fitting_again_does(make, ridge):
    """Of the naive solution with the answers among the labels; the last of them, a copy, is left out."""
    theta, f, Y = problem(2, copies={6: 3})
    posterior = make(theta, f, Y, ridge)
    told, targets = [3, 0, 11], np.eye(C)[[1, 3, 0]]
    for candidate, y in zip(told, targets, strict=True):
        posterior = posterior.condition(candidate, y)
    posterior = posterior.condition(6, np.eye(C)[2])
    labelled = [*range(L), *(L + x for x in told)]
    expected = reference.solve_eq_11(theta, f, np.vstack([Y, targets]), labelled, ridge)
    np.testing.assert_allclose(f + theta[:, labelled] @ posterior.weights(), expected, rtol=1e-8, atol=1e-8)


def test_the_lazy_posterior_is_the_dense_one_without_its_covariance():
    data = problem(copies={3: 2 - L})
    one, other = lazy_state_of(*data, 0.1), state_of(*data, 0.1)
    for name in ("f", "a", "u", "mean", "redundant"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-10)
    np.testing.assert_allclose(one.variance, np.diag(other.S), rtol=1e-9)
