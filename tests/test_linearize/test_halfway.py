"""Half-way criteria against their definitions, and sequential querying with only the columns that it queries."""

import numpy as np
import pytest

import cases
import reference
from linearize.criteria import CRITERIA, HALFWAY, REFERENCES, get_criterion, get_halfway
from linearize.errors import LinearizeError
from linearize.ondemand import OnDemand
from linearize.regression import factor, fit, fit_rectangle
from linearize.sequential import Sequential
from linearize.types import Kernel

L, U, C = 9, 14, 4
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


def blocks(theta):
    return Kernel(theta[:L, :L], theta[:L, L:], theta[L:, L:])


def on_demand(theta, f, Y, ridge=0.0, asked=None, **options):
    kernel = blocks(theta)

    def column(candidate):
        if asked is not None:
            asked.append(candidate)
        return kernel.UU[:, candidate]

    factored = factor(kernel.XX, kernel.XU, f[:L], Y, ridge=ridge)
    return OnDemand.fit(factored, np.diag(kernel.UU), f[L:], column, ridge=ridge, **options)


def full(theta, f, Y, ridge=0.0):
    return Sequential.fit(blocks(theta), f[:L], f[L:], Y, ridge=ridge)


@pytest.mark.parametrize("name", HALFWAY)
@pytest.mark.parametrize("probabilities", P)
@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_scores_equal_their_definitions(name, probabilities, classes, ridge):
    theta, f, Y = problem(classes=classes)
    f_lin = reference.solve_eq_11(theta, f, Y, list(range(L)), ridge)[L:]
    expected = [MEASURES[name](row) for row in P[probabilities](f_lin)]
    criterion = get_criterion(name, probabilities)
    for reference_name in REFERENCES:
        for state in (on_demand(theta, f, Y, ridge).state, fit(blocks(theta), f[:L], f[L:], Y, ridge=ridge)):
            np.testing.assert_allclose(criterion.scores(state, reference_name), expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", ["emoc", "eer"])
def test_expectations_are_taken_over_the_softmax_where_that_is_asked_for(name):
    theta, f, Y = problem()
    expected = reference.naive_expectation(theta, f, Y, L, 0.0, name, "network", reference.naive_softmax)
    scores = get_criterion(name, "softmax").scores(fit(blocks(theta), f[:L], f[L:], Y), "network")
    np.testing.assert_allclose(scores, expected, rtol=1e-5 if name == "eer" else 1e-8)


@pytest.mark.parametrize("name", HALFWAY)
def test_a_labelled_candidate_scores_least(name):
    theta, f, Y = problem(copies={3: 2 - L})
    state = on_demand(theta, f, Y, redundant=1e-6).state
    scores = HALFWAY[name].scores(state, "linearized")
    assert np.flatnonzero(state.redundant).tolist() == [3]
    assert scores[3] == scores.min() == (-1 if name == "margin-lin" else 0)


@pytest.mark.parametrize("name", HALFWAY)
@pytest.mark.parametrize("ridge", [0.0, 1e-3, 0.3])
@pytest.mark.parametrize("seed", [0, 1])
def test_on_demand_equals_sequential_and_builds_only_what_it_queries(name, ridge, seed):
    data = problem(seed, copies={5: 2, 7: 1 - L})
    asked = []
    fast, slow = on_demand(*data, ridge, asked), full(*data, ridge)
    rng = np.random.default_rng(seed)
    for step in range(U):
        np.testing.assert_allclose(fast.scores(name), slow.scores(name), rtol=1e-8, atol=1e-8)
        candidate = slow.best(name)
        assert fast.best(name) == candidate
        y = np.eye(C)[rng.integers(C)]
        for sequential in (fast, slow):
            sequential.answer(candidate, y)
        left = ~slow.answered
        np.testing.assert_allclose(fast.state.f_lin[left], slow.state.f_lin[left], rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(fast.state.u, slow.state.u, rtol=1e-7)
        np.testing.assert_array_equal(fast.state.redundant, slow.state.redundant)
        assert len(asked) <= step + 1
    assert asked == slow.told()
    assert not {5, 2} <= set(asked)  # of copies one is asked
    assert 7 not in asked  # it is labelled already
    with pytest.raises(LinearizeError, match="all 14 points"):
        fast.best(name)


@pytest.mark.parametrize("make", [on_demand, full])
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_weights_predict_any_input_as_fitting_again_does(make, ridge):
    """Of the naive solution with the answers among the labels; the last of them, a copy, is left out."""
    theta, f, Y = problem(2, copies={6: 3})
    sequential = make(theta, f, Y, ridge)
    told, targets = [3, 0, 11], np.eye(C)[[1, 3, 0]]
    for candidate, y in zip(told, targets, strict=True):
        sequential.answer(candidate, y)
    sequential.answer(6, np.eye(C)[2])
    labelled = [*range(L), *(L + x for x in told)]
    expected = reference.solve_eq_11(theta, f, np.vstack([Y, targets]), labelled, ridge)
    W = sequential.weights(factor(blocks(theta).XX, blocks(theta).XU, f[:L], Y, ridge=ridge))
    np.testing.assert_allclose(f + theta[:, labelled] @ W, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("make", [on_demand, full])
def test_a_copy_lives_on_its_own(make):
    sequential = make(*problem())
    for answered in (0, 1):  # before the first answer and after it
        before = sequential.scores("margin-lin"), sequential.state.f_lin.copy(), sequential._variance()
        other = sequential.copy()
        for _ in range(3):
            other.answer(other.best("margin-lin"), np.eye(C)[0])
        after = sequential.scores("margin-lin"), sequential.state.f_lin, sequential._variance()
        for now, then in zip(after, before, strict=True):
            np.testing.assert_array_equal(now, then)
        assert len(sequential.answers) == answered
        sequential.answer(int(sequential.best("margin-lin")), np.eye(C)[1])


def test_what_needs_S_is_refused():
    for name in CRITERIA:
        with pytest.raises(LinearizeError, match="expected a criterion that needs no S, margin-lin"):
            on_demand(*problem()).scores(name)
        with pytest.raises(LinearizeError, match="expected one that needs no S"):
            get_halfway(name)
    with pytest.raises(LinearizeError, match="probabilities: expected one of simplex, softmax; got 'l2'"):
        get_criterion("margin-lin", "l2")


def test_the_rectangle_is_the_regression_without_S():
    theta, f, Y = problem(copies={3: 2 - L})
    kernel = blocks(theta)
    rectangle = fit_rectangle(factor(kernel.XX, kernel.XU, f[:L], Y, ridge=0.1), np.diag(kernel.UU), f[L:], ridge=0.1)
    regression = fit(kernel, f[:L], f[L:], Y, ridge=0.1)
    for name in ("f", "a", "u", "f_lin", "redundant", "jitter"):
        np.testing.assert_allclose(getattr(rectangle, name), getattr(regression, name), rtol=1e-10)
    np.testing.assert_allclose(rectangle.variance, np.diag(regression.S), rtol=1e-9)
