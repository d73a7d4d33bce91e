"""The process by hand, and against a dense solution."""

import numpy as np

import cases
from linearize.criteria import CRITERIA, Measure
from linearize.gp import RIDGE, fit_gp
from linearize.types import Kernel

# One labelled point of class 0, two candidates, no noise to speak of: by hand
#   m(x) = Θ(x,X)/Θ(X,X) Y = (0.5, 0), (-0.25, 0)        S = [[2 - .25·4, .5 + .125·4], [.5 + .125·4, 1 - .0625·4]]
HAND = Kernel(np.array([[4.0]]), np.array([[2.0, -1.0]]), np.array([[2.0, 0.5], [0.5, 1.0]]))


def test_posterior_by_hand():
    state = fit_gp(HAND, np.array([[1.0, 0.0]]))
    np.testing.assert_allclose(state.f, [[0.5, 0], [-0.25, 0]], rtol=1e-5)
    np.testing.assert_allclose(state.S, [[1, 1], [1, 0.75]], rtol=1e-5)
    np.testing.assert_array_equal(state.a, 0)


def test_mlmoc_by_hand():
    # Candidate 0 is of class 0, r = (0.5, 0), and Σ|S|/u = 2/1; candidate 1 of class 1, r = (0.25, 1), and 1.75/0.75.
    state = fit_gp(HAND, np.array([[1.0, 0.0]]))
    for reference in ("network", "linearized"):
        scores = CRITERIA["mlmoc"].scores(state, measure=Measure(reference))
        np.testing.assert_allclose(scores, [1.0, 1.75 / 0.75 * np.sqrt(1.0625)], rtol=1e-5)


def test_the_update_is_a_dense_process_on_one_more_point():
    L, U, C = 7, 9, 3
    theta, _, Y = cases.random_regression(4, L, U, C)
    state = fit_gp(Kernel(theta[:L, :L], theta[:L, L:], theta[L:, L:]), Y, ridge=1e-3)
    lam = 1e-3 * np.mean(np.diag(theta[:L, :L]))

    def dense(known, targets):
        K = theta[np.ix_(known, known)] + lam * np.eye(len(known))
        return theta[L:, known] @ np.linalg.solve(K, targets)

    labelled = list(range(L))
    before = dense(labelled, Y)
    np.testing.assert_allclose(state.mean, before, rtol=1e-9)
    naive = []
    for candidate in range(U):
        label = np.eye(C)[before[candidate].argmax()]
        after = dense([*labelled, L + candidate], np.vstack([Y, label]))
        naive.append(np.linalg.norm(after - before, axis=1).sum())
    np.testing.assert_allclose(CRITERIA["mlmoc"].scores(state, measure=Measure("network")), naive, rtol=1e-8)


def test_a_ridge_of_its_own_keeps_copies_apart():
    K = np.ones((2, 2))
    state = fit_gp(Kernel(K, np.ones((2, 1)), np.ones((1, 1))), np.eye(2))
    np.testing.assert_allclose(state.f, [[0.5, 0.5]], rtol=2 * RIDGE)
