"""Equation 11 solved for each candidate, against the block update and against the slow reference."""

import tracemalloc

import numpy as np
import pytest
from regression_cases import state_of

import cases
import reference
from linearize.criteria import CRITERIA, Measure
from linearize.direct_solve import scores_by_direct_solve

NETWORK = Measure("network")


@pytest.mark.parametrize("ridge", [0.0, 1e-2])
@pytest.mark.parametrize("seed", range(3))
def test_it_equals_mlmoc_and_the_definition(seed, ridge):
    theta, f, Y = cases.random_regression(seed, 20, 15, 4)
    state = state_of(theta, f, Y, ridge)
    scores = scores_by_direct_solve(state)
    np.testing.assert_allclose(scores, CRITERIA["mlmoc"].scores(state, measure=NETWORK), rtol=1e-8)
    np.testing.assert_allclose(scores, reference.naive_criterion(theta, f, Y, 20, ridge, "mlmoc", "network"), rtol=1e-8)


def test_a_kernel_that_took_a_jitter_is_solved_with_it():
    theta, f, Y = cases.random_regression(0, 20, 15, 4)
    theta[1], theta[:, 1] = theta[0], theta[:, 0]  # a labelled copy
    theta[1, 1] = theta[0, 0] - 1e-12
    state = state_of(theta, f, Y, 0.0)
    assert state.labelled.jitter > 0
    scores = scores_by_direct_solve(state)
    np.testing.assert_allclose(scores, CRITERIA["mlmoc"].scores(state, measure=NETWORK), rtol=1e-4)


def test_redundant_candidates_score_0_as_in_the_criterion():
    theta, f, Y = cases.random_regression(0, 20, 15, 4)
    theta[22], theta[:, 22] = theta[3], theta[:, 3]  # candidate 2 is a copy of a labelled point
    theta[22, 22] = theta[3, 3]
    state = state_of(theta, f, Y, 0.0)
    scores, done = scores_by_direct_solve(state), []
    assert np.flatnonzero(scores == 0).tolist() == [2]
    np.testing.assert_allclose(scores, CRITERIA["mlmoc"].scores(state, measure=NETWORK), rtol=1e-8)
    scores_by_direct_solve(state, progress=lambda i, total: done.append((i, total)))
    assert done == [(i, 15) for i in (0, 1, *range(3, 15), 15)]


def test_it_holds_no_second_pool_by_pool_array():
    theta, f, Y = cases.random_regression(0, 5, 300, 3)
    state = state_of(theta, f, Y, 0.0)
    tracemalloc.start()
    scores_by_direct_solve(state)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < state.S.nbytes / 4
