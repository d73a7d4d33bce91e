"""The full kernel in look-ahead, against solving the bordered system of all logits afresh for every label."""

import dataclasses

import numpy as np
import pytest
from full_kernel_cases import CASES, Case, naive, solve
from regression_cases import LOSSES, lazy_state_of, state_of

import reference
from linearize.choice import best
from linearize.criteria import CRITERIA, DISTANCES, REFERENCES, Measure
from linearize.direct_solve import scores_by_direct_solve

P = {"simplex": reference.naive_simplex, "softmax": reference.naive_softmax}


@pytest.mark.parametrize("case", CASES)
def test_the_block_update_equals_solving_afresh(case):
    case = CASES[case]
    theta, f, Y = case.problem()
    state = state_of(theta, f, Y, case.ridge)
    f_lin = solve(theta, f, Y, list(range(case.L)), case.ridge)[case.L :]
    np.testing.assert_allclose(state.mean, f_lin, rtol=1e-8, atol=1e-8)
    for candidate in range(case.U):
        for y in np.eye(case.C):
            labelled = [*range(case.L), case.L + candidate]
            expected = solve(theta, f, np.vstack([Y, y]), labelled, case.ridge)[case.L :]
            np.testing.assert_allclose(state.look_ahead(candidate, y), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("probabilities", P)
@pytest.mark.parametrize("reference_name", REFERENCES)
@pytest.mark.parametrize("case", CASES)
def test_criteria_equal_their_definitions(case, reference_name, probabilities):
    case = CASES[case]
    problem = case.problem()
    state = state_of(*problem, case.ridge)
    for distance in DISTANCES:
        d = P[probabilities] if distance == "simplex" else lambda outputs: outputs
        found = {
            name: CRITERIA[name].scores(state, LOSSES[probabilities], Measure(reference_name, distance))
            for name in ("mlmoc", "emoc", "eer", "expected-accuracy", "mlmoc-flips", "emoc-flips")
        }
        for name, scores in found.items():
            expected = naive(*problem, case.ridge, name, reference_name, P[probabilities], d)
            if name.endswith("flips"):  # ties by the change
                change = found[name.removesuffix("-flips")]
                expected += change / (change.max() or 1) * (1 if name == "mlmoc-flips" else 1e-6)
            np.testing.assert_allclose(scores, expected, rtol=1e-8, atol=3e-9)


@pytest.mark.parametrize("ridge", [0.0, 0.1])
@pytest.mark.parametrize("name", CRITERIA)
def test_independent_logits_of_one_kernel_score_as_that_kernel(name, ridge):
    theta, f, Y = Case(C=1, copies=((3, 2), (4, -1))).problem()
    rng, L = np.random.default_rng(1), len(Y)
    f, Y = rng.normal(size=(len(f), 4)), np.eye(4)[rng.integers(4, size=L)]
    f[L + 3], f[L + 4] = f[L + 2], f[L - 1]
    scalar = state_of(theta, f, Y, ridge)
    full = state_of(np.kron(theta, np.eye(4)), f, Y, ridge)
    assert np.array_equal(full.redundant, scalar.redundant)
    for probabilities in P:
        for reference_name in REFERENCES:
            for distance in DISTANCES:
                measure = Measure(reference_name, distance)
                expected, found = (CRITERIA[name].scores(one, LOSSES[probabilities], measure) for one in (scalar, full))
                np.testing.assert_allclose(found, expected, rtol=1e-5 if name == "eer" else 1e-8, atol=1e-9)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("case", ["plain", "ten classes", "one class", "a ridge", "copies", "copies and a ridge"])
def test_every_answer_equals_fitting_again(case, dense):
    case = CASES[case]
    theta, f, Y = case.problem()
    asked = []
    state = state_of(theta, f, Y, case.ridge) if dense else lazy_state_of(theta, f, Y, case.ridge, asked)
    told, targets = [], np.zeros((0, case.C))
    rng = np.random.default_rng(3)
    for candidate in rng.permutation(case.U):
        y = np.eye(case.C)[rng.integers(case.C)]
        if not state.redundant[candidate]:
            told, targets = [*told, int(candidate)], np.vstack([targets, y])
        state = state.condition(int(candidate), y)
        expected = solve(theta, f, np.vstack([Y, targets]), [*range(case.L), *(case.L + x for x in told)], case.ridge)
        labelled = [*range(case.L), *(case.L + x for x in told)]
        rows = [x * case.C + c for x in labelled for c in range(case.C)]
        W = state.weights()
        np.testing.assert_allclose(f + (theta[:, rows] @ W.ravel()).reshape(f.shape), expected, rtol=1e-8, atol=1e-8)
        left = ~state.answered
        np.testing.assert_allclose(state.mean[left], expected[case.L :][left], rtol=1e-8, atol=1e-8)
        assert state.told() == told
        np.testing.assert_array_equal(state.mean[candidate], y)  # whatever the rows after it did
    assert state.answered.all()
    assert len(told) == case.U - len(case.copies)  # of copies one is asked
    assert dense or len(asked) == len(told) * case.C


@pytest.mark.parametrize("name", CRITERIA)
def test_scores_after_an_answer_are_those_of_the_updated_state(name):
    """From the first answer on, what the network is measured from is the linearised one, over what is left."""
    case = Case(ridge=0.05)
    theta, f, Y = case.problem()
    scores = CRITERIA[name].scores(state_of(theta, f, Y, case.ridge).condition(2, np.eye(3)[1]))
    keep = [*range(case.L), case.L + 2, *(case.L + x for x in range(case.U) if x != 2)]
    f_lin = solve(theta, f, np.vstack([Y, np.eye(3)[[1]]]), keep[: case.L + 1], case.ridge)[keep]
    rows = [x * 3 + c for x in keep for c in range(3)]
    again = state_of(theta[np.ix_(rows, rows)], f[keep], np.vstack([Y, np.eye(3)[[1]]]), case.ridge)
    left = dataclasses.replace(again, f=f_lin[case.L + 1 :], mean=f_lin[case.L + 1 :])
    assert scores[2] == -np.inf
    np.testing.assert_allclose(np.delete(scores, 2), CRITERIA[name].scores(left), rtol=1e-8, atol=1e-8)


def test_what_was_conditioned_lives_on_its_own():
    case, criterion = Case(), CRITERIA["mlmoc"]
    one = state_of(*case.problem(), 0.0).condition(1, np.eye(3)[0])
    before = criterion.scores(one)
    other = one.condition(best(one, before)[0], np.eye(3)[2])
    np.testing.assert_array_equal(criterion.scores(one), before)
    assert len(one.answers) == 1
    assert not np.array_equal(criterion.scores(other), before)


def test_a_logit_that_others_determine_is_left_out_and_the_rest_still_tells():
    """Candidate 0 has its second logit twice; of candidate 1 both logits are labelled already."""
    rng = np.random.default_rng(0)
    J = rng.normal(size=(4, 2, 20))
    J[2, 1], J[3] = J[2, 0], J[0]
    theta, f, Y = J.reshape(8, -1) @ J.reshape(8, -1).T, rng.normal(size=(4, 2)), np.eye(2)
    state = state_of(theta, f, Y, 0.0)
    assert state.redundant.tolist() == [False, True]
    _, S, G = state.block(np.arange(2))
    S = S[0, 0, 0]
    np.testing.assert_allclose(G[0], [[1 / S, 0], [0, 0]], rtol=1e-8, atol=1e-12)
    assert not G[1].any()
    expected = state.look_ahead(0, np.eye(2)[1])
    state = state.condition(0, np.eye(2)[1])
    np.testing.assert_allclose(state.mean[1], expected[1], rtol=1e-8)
    W = state.weights()
    np.testing.assert_allclose(f[2:] + (theta[4:, :6] @ W.ravel()).reshape(2, 2), expected, rtol=1e-8)


@pytest.mark.parametrize("case", ["plain", "two classes", "a ridge"])
def test_solving_afresh_for_each_candidate_scores_as_the_block_update(case):
    case = CASES[case]
    problem = case.problem()
    expected = naive(*problem, case.ridge, "mlmoc", "network", reference.naive_simplex)
    np.testing.assert_allclose(scores_by_direct_solve(state_of(*problem, case.ridge)), expected, rtol=1e-8)


@pytest.mark.parametrize("ridge", [0.0, 1e-2])
def test_a_candidate_some_of_whose_logits_tell_nothing_is_solved_afresh_without_them(ridge):
    rng, L, U, C = np.random.default_rng(0), 5, 4, 3
    J = rng.standard_normal(((L + U) * C, 60))
    J[(L + 1) * C + 1] = J[(L + 1) * C]  # two logits of candidate 1 are one
    J[(L + 2) * C] = J[0]  # a logit of candidate 2 is that of a labelled example
    theta, f, Y = J @ J.T, rng.standard_normal((L + U, C)), np.eye(C)[rng.integers(0, C, L)]
    state = state_of(theta, f, Y, ridge)
    expected = CRITERIA["mlmoc"].scores(state, measure=Measure("network"))
    np.testing.assert_allclose(scores_by_direct_solve(state), expected, rtol=1e-8)
