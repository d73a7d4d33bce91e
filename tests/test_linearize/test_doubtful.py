"""Labels that look wrong: the closed form against refits without each example, and a case worked by hand."""

import numpy as np
import pytest

from linearize import LinearizeError
from linearize.doubtful import features_kernel, left_out, of_factor


def refitted(theta, labels, C, ridge):
    """Kernel regression with each example really left out."""
    lam = ridge * np.mean(np.diag(theta))
    T, predicted = np.eye(C)[labels] - 1 / C, []
    for i in range(len(labels)):
        rest = np.arange(len(labels)) != i
        K = theta[np.ix_(rest, rest)] + lam * np.eye(rest.sum())
        predicted.append(theta[i, rest] @ np.linalg.solve(K, T[rest]) + 1 / C)
    return np.array(predicted)


@pytest.mark.parametrize("ridge", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("C", [2, 3])
def test_it_is_what_refits_without_each_example_predict(ridge, C):
    rng = np.random.default_rng(C)
    theta, labels = features_kernel(rng.standard_normal((12, 4))), rng.integers(0, C, 12)
    found = left_out(theta, labels, C, ridge)
    expected = refitted(theta, labels, C, ridge)
    np.testing.assert_allclose(found.predicted, expected, atol=1e-9)
    for i, label in enumerate(labels):
        others = [c for c in range(C) if c != label]
        best = max(others, key=lambda c: expected[i, c])
        assert found.suggested[i] == best
        assert found.lead[i] == pytest.approx(expected[i, best] - expected[i, label])


def test_by_hand():
    # Three examples: two alike (kernel 1 with each other), one apart (0 with both); λ = 1. Of the first, the second
    # alone says something: Θ(1,2) (Θ(2,2) + 1)⁻¹ T_2 = T_2 / 2, T_2 = (-1/2, 1/2): predicted (1/4, 3/4), and it was
    # called class 0. Of the third nothing is known: (1/2, 1/2).
    theta = np.array([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]])
    found = left_out(theta, np.array([0, 1, 1]), 2, 1.0)
    np.testing.assert_allclose(found.predicted, [[0.25, 0.75], [0.75, 0.25], [0.5, 0.5]], atol=1e-12)
    np.testing.assert_allclose(found.lead, [0.5, 0.5, 0.0], atol=1e-12)
    assert found.suggested.tolist() == [1, 0, 0]


def test_a_flipped_label_is_the_most_doubtful():
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    features = rng.standard_normal((40, 3)) + 4 * labels[:, None]
    given = np.where(np.arange(40) == 17, 1 - labels, labels)
    found = left_out(features_kernel(features), given, 2)
    assert found.order[0] == 17
    assert found.lead[17] > 0 > found.lead[np.arange(40) != 17].max()


def test_the_kernel_comes_back_from_its_factor_and_outputs_are_averaged():
    rng = np.random.default_rng(1)
    A = rng.standard_normal((6, 9))
    theta = A @ A.T  # three examples, two outputs each
    F = np.linalg.cholesky(theta + 0.5 * np.eye(6))
    np.testing.assert_allclose(of_factor(F, 6, 0.5), theta, atol=1e-12)
    mean = (theta[::2, ::2] + theta[1::2, 1::2]) / 2
    np.testing.assert_allclose(of_factor(F, 3, 0.5), mean, atol=1e-12)


@pytest.mark.parametrize("ridge", [0.0, -1.0])
def test_a_ridge_is_needed(ridge):
    with pytest.raises(LinearizeError, match="ridge: expected a number above 0"):
        left_out(np.eye(2), np.array([0, 1]), 2, ridge)
