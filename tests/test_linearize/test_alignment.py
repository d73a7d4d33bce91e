"""Alignment, bound, convergence and MMD: by hand, by their definitions, and what must be true of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from linearize import LinearizeError
from linearize.alignment import (
    Bounded,
    Spectrum,
    alignment,
    bound_by_alignment,
    convergence,
    generalisation_bound,
    maximum_mean_discrepancy,
    squared_error_after,
    squared_error_dynamics,
)

THETA, Y = np.array([[2.0, 1], [1, 3]]), np.eye(2)  # λ = 1.3819660113, 3.6180339887
SPECTRUM = Spectrum.of(THETA, Y)
ONE_CLASS = np.array([[1.0, 0], [1, 0]])


def test_alignment_and_bound_by_hand():
    assert alignment(THETA, Y) == 5
    assert SPECTRUM.alignment == pytest.approx(5, abs=1e-12)
    np.testing.assert_allclose(SPECTRUM.eigenvalues, [1.3819660113, 3.6180339887], atol=1e-10)
    assert generalisation_bound(THETA, Y) == pytest.approx(1.0, abs=1e-12)
    assert alignment(THETA, ONE_CLASS) == 7  # a similar pair of one class
    assert generalisation_bound(THETA, ONE_CLASS) == pytest.approx(0.7745966692, abs=1e-10)


def test_the_theorems_by_hand():
    two = bound_by_alignment(SPECTRUM, 1.0)
    assert two == pytest.approx((0.8, 1.0, 2.0944271910), abs=1e-9)
    assert bound_by_alignment(SPECTRUM, 1.0, tight=True).high == pytest.approx(1.0, abs=1e-12)  # attained
    assert bound_by_alignment(SPECTRUM, 1.0, tight=True).holds
    assert convergence(SPECTRUM, 0.1, 1) == pytest.approx((1.0, 1.15, 1.5), abs=1e-12)
    assert convergence(SPECTRUM, 0.1, 5) == pytest.approx((-3, 0.2371946875, 1.5), abs=1e-9)


@pytest.mark.parametrize(
    ("bounded", "holds"),
    [((0, 1, 2), True), ((1, 1, 1), True), ((2, 1, 3), False), ((0, 3, 2), False), ((0, 3, np.inf), True)],
)
def test_whether_a_bound_holds(bounded, holds):
    assert Bounded(*bounded).holds is holds


def test_a_singular_kernel_has_no_upper_bound():
    spectrum = Spectrum(np.array([-1e-17, 2.0]), np.array([1.0, 1.0]))
    assert bound_by_alignment(spectrum, 3.0) == (2.0, 9.0, np.inf)


FEATURES = np.array([[1.0, 0], [0, 1], [2, 1], [1, 3]])


def test_mmd_by_hand():
    """a = 0, b = 24, c = 7: MMD² = 0 + 2 - 7/3 < 0; with the printed double sum, c = 5, it would be 1/3."""
    assert maximum_mean_discrepancy(FEATURES @ FEATURES.T, 2) == 0
    assert maximum_mean_discrepancy(np.ones((5, 5)), 3) == 0  # printed: 1
    # S0 = {0, 0}, S adds {1, 1}: a = 0, b = 2, c = 0
    line = np.array([0.0, 0, 1, 1])
    assert maximum_mean_discrepancy(np.outer(line, line), 2) == pytest.approx(np.sqrt(2 / 12), abs=1e-12)


def test_mmd_is_its_double_sums():
    rng = np.random.default_rng(0)
    x = np.vstack([rng.normal(size=(4, 3)), 3 + rng.normal(size=(5, 3))])
    theta, m, n = x @ x.T, 4, 9
    a = sum(theta[i, j] for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    b = sum(theta[i, j] for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    c = sum(theta[i, j] for i in range(m) for j in range(n) if i != j) / (m * (n - 1))
    assert maximum_mean_discrepancy(theta, m) == pytest.approx(np.sqrt(a + b - 2 * c), rel=1e-12)


def test_samples_of_one_distribution_have_no_distance_on_the_average():
    rng, squares = np.random.default_rng(0), []
    for _ in range(3000):
        x = rng.normal(size=(12, 2))
        theta, m, n = x @ x.T, 5, 12
        own = np.diag(theta)
        c = theta[:m].sum() - own[:m].sum()
        a, b = theta[:m, :m].sum() - own[:m].sum(), theta.sum() - own.sum()
        squared = a / (m * m - m) + b / (n * n - n) - 2 * c / (m * (n - 1))
        squares.append(squared)
        assert maximum_mean_discrepancy(theta, m) == pytest.approx(np.sqrt(max(squared, 0)), abs=1e-12)
    assert abs(np.mean(squares)) < 4 * np.std(squares) / np.sqrt(len(squares))


@pytest.mark.parametrize("m", [0, 1, 5])
def test_a_set_that_has_no_pairs_is_refused(m):
    with pytest.raises(LinearizeError, match=f"m: expected 2 to 4 inputs of the first set, got {m}"):
        maximum_mean_discrepancy(np.eye(4), m)


@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 2**31), st.integers(1, 30))
def test_definitions_and_theorems_of_any_kernel(n, K, seed, t):
    rng = np.random.default_rng(seed)
    J = rng.normal(size=(n, n + 3))
    theta, one_hot = J @ J.T, np.eye(K)[rng.integers(K, size=n)]
    values, vectors = np.linalg.eigh(theta)
    eta = 0.99 / values[-1]
    weights = (vectors.T @ one_hot) ** 2
    assert alignment(theta, one_hot) == pytest.approx((values[:, None] * weights).sum(), rel=1e-9)
    inverse = np.trace(one_hot.T @ np.linalg.inv(theta) @ one_hot)
    assert generalisation_bound(theta, one_hot) == pytest.approx(np.sqrt(2 * inverse / n), rel=1e-6)
    spectrum, f = Spectrum.of(theta, one_hot), np.zeros((n, K))
    for _ in range(t):  # gradient descent on ½‖f - Y‖² in function space
        f = f - eta * theta @ (f - one_hot)
    assert squared_error_after(spectrum, eta, t) == pytest.approx(((f - one_hot) ** 2).sum(), rel=1e-6, abs=1e-9)
    assert convergence(spectrum, eta, t).holds
    for tight in (True, False):
        assert bound_by_alignment(spectrum, generalisation_bound(theta, one_hot), tight=tight).holds


def test_dynamics_of_the_squared_error():
    f = np.array([[0.5, 0.2], [0.1, 0.9]])
    d = f - Y
    expected = sum(d[i] @ d[j] * THETA[i, j] for i in range(2) for j in range(2))
    assert squared_error_dynamics(THETA, f, Y) == pytest.approx(expected, rel=1e-12)
    assert squared_error_dynamics(THETA, np.zeros((2, 2)), Y) == alignment(THETA, Y)
    assert squared_error_dynamics(THETA, Y, Y) == 0


def test_kendalls_tau_by_hand():
    assert kendalltau([1, 2, 3, 4, 5], [1, 3, 2, 5, 4]).statistic == pytest.approx(0.6, abs=1e-12)  # (8 - 2) / 10
