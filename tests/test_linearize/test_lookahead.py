"""The block update and the criteria against solving everything from scratch."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from regression_cases import state_of

import cases
import reference
from linearize.criteria import CRITERIA, REFERENCES, Measure, get_criterion
from linearize.errors import LinearizeError
from linearize.posterior.base import REDUNDANT

problems = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "L": st.integers(1, 12),
        "U": st.integers(1, 9),
        "C": st.integers(2, 5),
    }
)


@settings(max_examples=40, deadline=None)
@given(problem=problems, ridge=st.sampled_from([0.0, 1e-3, 0.5]))
def test_block_update_equals_solving_equation_11_afresh(problem, ridge):
    theta, f, Y = cases.random_regression(**problem)
    state = state_of(theta, f, Y, ridge)
    for candidate in range(problem["U"]):
        y = np.eye(problem["C"])[candidate % problem["C"]]
        expected = reference.naive_look_ahead(theta, f, Y, len(Y), candidate, y, ridge)
        error = np.linalg.norm(state.look_ahead(candidate, y) - expected) / np.linalg.norm(expected)
        assert error < 1e-8


@settings(max_examples=40, deadline=None)
@given(problem=problems, reference_name=st.sampled_from(REFERENCES), block=st.sampled_from([1, 3, 64]))
def test_criteria_equal_their_definitions(problem, reference_name, block):
    theta, f, Y = cases.random_regression(**problem)
    state = state_of(theta, f, Y, 1e-3)
    naive = {
        name: reference.naive_criterion(theta, f, Y, len(Y), 1e-3, name, reference_name)
        for name in ("mlmoc", "mlmoc-flips")
    }
    scores = CRITERIA["mlmoc"].scores(state, measure=Measure(reference_name), block=block)
    np.testing.assert_allclose(scores, naive["mlmoc"], rtol=1e-8)
    flips = CRITERIA["mlmoc-flips"].scores(state, measure=Measure(reference_name), block=block)
    np.testing.assert_array_equal(np.floor(flips), naive["mlmoc-flips"])
    # Among candidates that flip equally many predictions, MLMOC decides.
    for count in np.unique(naive["mlmoc-flips"]):
        tied = naive["mlmoc-flips"] == count
        assert np.array_equal(np.argsort(flips[tied], kind="stable"), np.argsort(scores[tied], kind="stable"))


def test_a_jitter_is_part_of_the_ridge_that_the_update_assumes():
    """An indefinite kernel: the factor took a jitter, and eq. (11) holds with that jitter as λ."""
    theta, f, Y = cases.random_regression(4, 30, 12, 3, rank=25)
    theta[:30, :30] -= 1e-5 * np.eye(30)
    theta[30:, 30:] += 0.5 * np.eye(12)  # the candidates still tell something new
    state = state_of(theta, f, Y, 0.0)
    assert state.labelled.jitter > 0
    assert not state.redundant.any()
    y = np.eye(3)[1]
    for candidate in range(12):
        expected = reference.naive_look_ahead(theta, f, Y, 30, candidate, y, state.labelled.jitter)
        error = np.linalg.norm(state.look_ahead(candidate, y) - expected) / np.linalg.norm(expected)
        assert error < 1e-6


def test_copies_of_labelled_points_stay_redundant_under_a_jitter():
    """Rank 20 of 30 with one slightly negative direction: in the other null directions S of a copy is the jitter."""
    theta, f, Y = cases.random_regression(4, 30, 6, 3, rank=20)
    copy = [*range(30), 4, 5, *range(32, 36)]
    theta = theta[np.ix_(copy, copy)]
    direction = np.linalg.eigh(theta[:30, :30])[1][:, :1]
    theta[:30, :30] -= 1e-5 * direction @ direction.T
    state = state_of(theta, f[copy], Y, 0.0)
    assert (np.diag(state.S)[:2] > 2 * REDUNDANT * np.diag(theta)[30:32]).all()
    assert state.redundant[:2].all()


def test_mlmoc_with_reference_linearized_has_its_closed_form():
    theta, f, Y = cases.random_regression(3, 6, 8, 4)
    state = state_of(theta, f, Y, 0.0)
    r = np.eye(4)[state.f.argmax(1)] - state.mean
    expected = np.linalg.norm(r, axis=1) / state.u * np.abs(state.S).sum(0)
    np.testing.assert_allclose(CRITERIA["mlmoc"].scores(state, measure=Measure("linearized")), expected, rtol=1e-10)


def test_the_two_references_differ_where_training_has_not_converged():
    theta, f, Y = cases.random_regression(3, 6, 8, 4, residual=0.5)
    state = state_of(theta, f, Y, 0.0)
    network, linearized = (
        CRITERIA["mlmoc"].scores(state, measure=Measure(reference_name)) for reference_name in REFERENCES
    )
    assert not np.allclose(network, linearized, rtol=1e-2)


def test_a_converged_network_adds_nothing_by_finishing():
    theta, f, Y = cases.random_regression(0, 6, 5, 3, residual=0.0)
    state = state_of(theta, f, Y, 0.0)
    np.testing.assert_allclose(state.a, 0, atol=1e-12)
    np.testing.assert_array_equal(state.mean, state.f)


@pytest.mark.parametrize("name", ["mlmoc", "mlmoc-flips", "emoc"])
@pytest.mark.parametrize("reference_name", REFERENCES)
def test_a_copy_of_a_labelled_point_scores_zero(name, reference_name):
    theta, f, Y = cases.random_regression(0, 6, 5, 3)
    copy = [*range(6), 2, *range(7, 11)]  # pool point 0 is labelled point 2
    state = state_of(theta[np.ix_(copy, copy)], f[copy], Y, 0.0)
    scores = CRITERIA[name].scores(state, measure=Measure(reference_name))
    assert state.redundant.tolist() == [True, False, False, False, False]
    assert scores[0] == 0
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(state.look_ahead(0, np.eye(3)[0]), state.mean)


def test_unknown_criterion_lists_the_known_ones():
    with pytest.raises(
        LinearizeError, match="expected one of mlmoc, mlmoc-flips, emoc, eer,.* margin-lin,.* got 'bald'"
    ):
        get_criterion("bald")
