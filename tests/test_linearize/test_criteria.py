"""EMOC and EER against their definitions, and what all criteria share: blocks, redundancy, precision."""

import dataclasses

import jax
import numpy as np
import pytest
from regression_cases import CASES, LOSSES, Case, posterior_by_hand, state_of

import cases
import reference
from common.losses import CROSS_ENTROPY, L2
from common.probabilities import SIMPLEX, SOFTMAX, project_onto_simplex, simplex_threshold
from linearize.criteria import CRITERIA, REFERENCES, Criterion, Measure, eer
from linearize.criteria.eer import by_simplex
from linearize.criteria.passes import Labels, over_blocks
from linearize.errors import LinearizeError

EXPECTATIONS = ["emoc", "eer", "eer softmax"]
COVARIANCE = [name for name, criterion in CRITERIA.items() if criterion.needs == "covariance"]


@pytest.mark.parametrize("name", EXPECTATIONS)
@pytest.mark.parametrize("reference_name", REFERENCES)
@pytest.mark.parametrize("case", CASES)
def test_expectations_equal_their_definitions(name, reference_name, case):
    problem = CASES[case].problem()
    ridge = CASES[case].ridge
    probabilities = reference.naive_softmax if name == "eer softmax" else reference.naive_simplex
    L = len(problem[2])
    expected = reference.naive_expectation(*problem, L, ridge, name.split()[0], reference_name, probabilities)
    state = state_of(*problem, ridge)
    for block in (3, 256):
        loss = LOSSES["softmax" if name == "eer softmax" else "simplex"]
        scores = CRITERIA[name.split()[0]].scores(state, loss, Measure(reference_name), block)
        np.testing.assert_allclose(scores, expected, rtol=1e-8, atol=1e-12)


def test_emoc_with_reference_linearized_has_its_closed_form():
    state = state_of(*Case(C=4).problem(), 0.0)
    p = reference.naive_simplex(state.f)
    distance = np.linalg.norm(np.eye(4)[None] - state.mean[:, None], axis=2)  # [U, C]
    expected = np.abs(state.S).sum(0) / state.u * (p * distance).sum(1)
    np.testing.assert_allclose(CRITERIA["emoc"].scores(state, measure=Measure("linearized")), expected, rtol=1e-10)


def test_emoc_is_mlmoc_where_the_network_is_sure():
    theta, f, Y = Case().problem()
    f[8:] = np.eye(3)[f[8:].argmax(1)]  # one class of probability 1 each
    state = state_of(theta, f, Y, 0.0)
    for name in REFERENCES:
        emoc, mlmoc = (CRITERIA[criterion].scores(state, measure=Measure(name)) for criterion in ("emoc", "mlmoc"))
        np.testing.assert_allclose(emoc, mlmoc, rtol=1e-12)


def redundant_state():
    theta, f, Y = cases.random_regression(0, 6, 5, 3)
    copy = [*range(6), 2, *range(7, 11)]  # pool point 0 is labelled point 2
    state = state_of(theta[np.ix_(copy, copy)], f[copy], Y, 0.0)
    assert state.redundant.tolist() == [True, False, False, False, False]
    return state


@pytest.mark.parametrize("probabilities", [SIMPLEX, SOFTMAX])
def test_a_redundant_candidate_leaves_the_entropy_as_it_is(probabilities):
    """It scores that entropy: 0 would put it first, minus infinity last, whatever the others do."""
    state, loss = redundant_state(), LOSSES[probabilities.name]
    scores = CRITERIA["eer"].scores(state, loss)
    assert scores[0] == pytest.approx(-reference.naive_entropy(probabilities.of(state.mean)), rel=1e-12)
    assert scores[0] < 0
    rounding = dataclasses.replace(state, S=state.S + np.eye(5)[0][:, None])  # of a redundant point's S that is left
    assert CRITERIA["eer"].scores(rounding, loss)[0] == scores[0]


def test_a_prediction_that_comes_level_with_an_earlier_class_flips():
    """By hand: q = 1/2 and r = (1, -1) take point 1 from (0, 1) to (1/2, 1/2), whose argmax is class 0."""
    f = np.array([[1.0, 0.0], [0.0, 1.0]])
    f_lin = np.array([[0.0, 1.0], [0.0, 1.0]])
    state = posterior_by_hand(f, f_lin, np.array([[1.0, 0.5], [0.5, 1.0]]), np.array([False, True]))
    flips = np.floor(CRITERIA["mlmoc-flips"].scores(state))
    assert flips.tolist() == [2, 0]  # point 0 itself goes to (1, 0)


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("reference_name", REFERENCES)
def test_blocks_and_the_callers_arrays(name, reference_name):
    """Any block size gives the same scores, and nothing that the caller owns is written to."""
    state, measure = state_of(*Case(U=9, C=4).problem(), 1e-3), Measure(reference_name)
    for array in (state.f, state.mean, state.S, state.variance, state.redundant_rows, state.answered):
        array.flags.writeable = False
    once = CRITERIA[name].scores(state, L2, measure, 9)
    assert once.dtype == np.float64
    for block in (1, 2, 4, 8, 1000):
        np.testing.assert_allclose(CRITERIA[name].scores(state, L2, measure, block), once, rtol=2e-6)


@pytest.mark.parametrize("name", CRITERIA)
def test_scores_do_not_depend_on_what_precision_the_caller_runs_in(name):
    state, measure = state_of(*Case(U=9, C=4).problem(), 1e-3), Measure("network")
    with jax.enable_x64(True):
        inside = CRITERIA[name].scores(state, measure=measure)
    np.testing.assert_array_equal(CRITERIA[name].scores(state, measure=measure), inside)


@pytest.mark.parametrize("C", [3, 20])
def test_float32_keeps_the_ranking_and_is_for_large_pools_and_the_simplex_alone(C, monkeypatch):
    state = state_of(*Case(L=20, U=60, C=C).problem(), 1e-3)
    arguments = L2.probabilities.of(state.f), L2.pseudo_residual(state.mean), 48
    exact, fast = (by_simplex(state, *arguments, dtype) for dtype in (np.float64, np.float32))
    assert 0 < np.abs(fast / exact - 1).max() < 5e-6
    for most, expected in ((60, exact), (59, fast)):
        monkeypatch.setattr(eer, "EXACT", most)
        np.testing.assert_array_equal(CRITERIA["eer"].scores(state), expected)
    separate = np.diff(np.sort(exact)).min() > 1e-5 * np.abs(exact).max()
    assert not separate or np.array_equal(np.argsort(fast), np.argsort(exact))
    by_softmax = CRITERIA["eer"].scores(state, CROSS_ENTROPY)
    monkeypatch.setattr(eer, "EXACT", 60)
    np.testing.assert_array_equal(CRITERIA["eer"].scores(state, CROSS_ENTROPY), by_softmax)


@pytest.mark.parametrize("name", EXPECTATIONS)
@pytest.mark.parametrize("most", [0, 1024])  # passes in float32, where there is a choice, and in float64
def test_a_candidate_of_huge_influence_gives_finite_scores(name, most, monkeypatch):
    """u(x') just above what counts as redundant: q is of the order of 1000."""
    monkeypatch.setattr(eer, "EXACT", most)
    state = state_of(*Case(U=9, C=4).problem(), 0.0)
    S = state.S.copy()
    S[0, 1:] = S[1:, 0] = np.linspace(-2, 2, 8)
    S[0, 0] = 2e-3
    loss = LOSSES["softmax" if name == "eer softmax" else "simplex"]
    state = dataclasses.replace(state, S=S, variance=np.diag(S).copy())
    scores = CRITERIA[name.split()[0]].scores(state, loss, Measure("network"))
    assert np.isfinite(scores).all()
    assert (np.abs(scores) < 1e6).all()


def test_a_criterion_says_which_losses_it_is_defined_for():
    criterion = dataclasses.replace(CRITERIA["mlmoc"], losses=("l2",))
    state = state_of(*Case().problem(), 0.0)
    criterion.scores(state, L2)
    with pytest.raises(LinearizeError, match="mlmoc: expected a network trained with l2; got cross-entropy"):
        criterion.scores(state, CROSS_ENTROPY)


def test_a_criterion_of_ones_own_is_a_record():
    """What a definition needs is there: it is scored with any kernel, and answered candidates score -inf."""
    mine = Criterion("nearest-to-even", "A = -f_0²", "near 0", "nobody", lambda p, _: -(p.mean[:, 0] ** 2), "training")
    state = state_of(*Case().problem(), 0.0).condition(2, np.eye(3)[0])
    assert mine.scores(state)[2] == -np.inf
    np.testing.assert_array_equal(np.delete(mine.scores(state), 2), -(np.delete(state.mean[:, 0], 2) ** 2))


def test_a_block_holds_no_more_than_it_must():
    """Columns of S come in blocks of B; no block is longer, and every candidate is in one."""
    state = state_of(*Case(U=9).problem(), 0.0)
    seen = []

    def score(block):
        assert block.S.shape == (4, 1, 9)
        seen.extend(block.candidates)
        return block.candidates

    order = np.arange(9)[::-1]
    np.testing.assert_array_equal(over_blocks(state, score, 4, order), np.arange(9))
    assert set(seen) == set(range(9))


def test_labels_come_likeliest_first_and_are_counted():
    labels = Labels.of(np.array([[0.2, 0.8, 0.0], [0.0, 0.0, 1.0], [0.3, 0.3, 0.4]]))
    assert labels.classes[:, 0].tolist() == [1, 2, 2]
    assert labels.likely.tolist() == [2, 1, 3]
    assert labels.fewest_first().tolist() == [1, 0, 2]


def test_the_projections_threshold_is_worked_by_hand():
    # {0.9, 0.5} are kept: τ = (1.4 - 1)/2; one class far ahead: τ = 3 - 1; a constant row: τ = 7 - 1/3.
    f = np.array([[0.9, 0.5, -1.0], [3.0, 0.0, 0.0], [7.0, 7.0, 7.0]])
    np.testing.assert_allclose(simplex_threshold(f), [0.2, 2.0, 7 - 1 / 3], atol=1e-12)
    np.testing.assert_allclose(project_onto_simplex(f), reference.naive_simplex(f), atol=1e-12)
