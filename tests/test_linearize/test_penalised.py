"""A network whose training minimised the ridge's penalty too: one more label moves it as solving again would."""

import numpy as np
import pytest

from linearize import KernelOptions, LookAhead

RIDGE = 0.3
L, U, D, C = 12, 9, 5, 3


def features(x):
    return np.hstack([x, np.ones((len(x), 1))])


def solve(x, Y, lam):
    H = features(x)
    return np.linalg.solve(H.T @ H + lam * np.eye(D + 1), H.T @ Y)


def linear(variables, x):
    return x @ variables["params"]["kernel"] + variables["params"]["bias"][None]


@pytest.fixture
def problem(x64):
    draw = np.random.default_rng(0)
    X, pool = draw.normal(size=(L, D)), draw.normal(size=(U, D))
    Y = np.eye(C)[draw.integers(0, C, L)]
    lam = RIDGE * np.square(features(X)).sum() / L
    W = solve(X, Y, lam)
    return X, Y, pool, lam, {"params": {"kernel": W[:-1], "bias": W[-1]}}


def fitted(problem, penalised):
    X, Y, pool, _, variables = problem
    return LookAhead.fit(
        linear, variables, X, Y, pool, KernelOptions(ridge=RIDGE, precision="float64"), penalised=penalised
    )


def test_there_is_nothing_to_finish(problem):
    _, _, pool, _, variables = problem
    service = fitted(problem, True)
    np.testing.assert_allclose(service.posterior.mean, linear(variables, pool), atol=1e-12)
    assert service.diagnostics.remaining_change == pytest.approx(0, abs=1e-12)
    assert service.diagnostics.residual_norm > 0.1  # what the penalty holds
    assert fitted(problem, False).diagnostics.remaining_change > 0.01


def test_labels_move_it_as_solving_again_would(problem):
    X, Y, pool, lam, _ = problem
    service = fitted(problem, True)
    for sample, label in ((4, 2), (7, 0)):
        service.observe(sample, label)
    again = solve(np.vstack([X, pool[[4, 7]]]), np.vstack([Y, np.eye(C)[[2, 0]]]), lam)
    others = np.setdiff1d(np.arange(U), [4, 7])
    np.testing.assert_allclose(service.posterior.mean[others], (features(pool) @ again)[others], atol=1e-10)
