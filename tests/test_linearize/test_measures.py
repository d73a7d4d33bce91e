"""Every criterion × reference × distance × probabilities against its definition, one solve from scratch a label."""

import dataclasses
import itertools

import numpy as np
import pytest
from regression_cases import CASES, LOSSES, Case, posterior_by_hand, state_of

import reference
from linearize.criteria import CRITERIA, DISTANCES, REFERENCES, Measure
from linearize.errors import LinearizeError

P = {"simplex": reference.naive_simplex, "softmax": reference.naive_softmax}
MEASURES = [(distance, probabilities) for distance in DISTANCES for probabilities in P]
CHEAP = [name for name, case in CASES.items() if (case.U, case.C) == (Case().U, Case().C)]
DEAR = [name for name in CASES if name not in CHEAP]
"""Cases of a shape of their own, for which every criterion compiles anew."""


def cases_for(number, dear=1):
    """The cases that a combination is compared on: all of one shape, and some of the others by turns."""
    return [*CHEAP, *(DEAR[(dear * number + k) % len(DEAR)] for k in range(dear))]


COMBINATIONS = [(case, *one) for i, one in enumerate(itertools.product(REFERENCES, MEASURES)) for case in cases_for(i)]
BY_PROBABILITIES = [(case, p) for i, p in enumerate(P) for case in cases_for(i, 2)]
OUTPUTS = np.array([[0.6, 0.4], [0.45, 0.55], [1.0, 0.0]])
HAND = posterior_by_hand(  # of three points; a label of point 0 moves point 1 by half as much, and point 2 not at all
    OUTPUTS, OUTPUTS, np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])
)
COVARIANCE = [name for name, criterion in CRITERIA.items() if criterion.needs == "covariance"]


@pytest.mark.parametrize(("case", "reference_name", "measure"), COMBINATIONS)
def test_changes_equal_their_definitions(case, reference_name, measure):
    distance, probabilities = measure
    problem, ridge = CASES[case].problem(), CASES[case].ridge
    state, L = state_of(*problem, ridge), len(problem[2])
    d = P[probabilities] if distance == "simplex" else lambda outputs: outputs
    emoc = reference.naive_expectation(*problem, L, ridge, "emoc", reference_name, P[probabilities], d)
    mlmoc = reference.naive_criterion(*problem, L, ridge, "mlmoc", reference_name, d)
    for name, expected in (("emoc", emoc), ("mlmoc", mlmoc)):
        scores = CRITERIA[name].scores(state, LOSSES[probabilities], Measure(reference_name, distance), 3)
        np.testing.assert_allclose(scores, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("case", "reference_name", "measure"), COMBINATIONS)
def test_flips_equal_their_definitions_and_ties_go_by_change(case, reference_name, measure):
    distance, probabilities = measure
    problem, ridge = CASES[case].problem(), CASES[case].ridge
    state, L = state_of(*problem, ridge), len(problem[2])
    flips = reference.naive_criterion(*problem, L, ridge, "mlmoc-flips", reference_name)
    expected = reference.naive_expectation(*problem, L, ridge, "emoc-flips", reference_name, P[probabilities])
    for name, tie, naive, share in (("mlmoc-flips", "mlmoc", flips, 1), ("emoc-flips", "emoc", expected, 1e-6)):
        scores = CRITERIA[name].scores(state, LOSSES[probabilities], Measure(reference_name, distance), 3)
        change = CRITERIA[tie].scores(state, LOSSES[probabilities], Measure(reference_name, distance), 3)
        ties = share * change / (change.max() or 1)
        np.testing.assert_allclose(scores - naive, ties, rtol=1e-6, atol=1e-8 * share + 1e-12)


@pytest.mark.parametrize(("case", "probabilities"), BY_PROBABILITIES)
def test_expected_accuracy_equals_its_definition(case, probabilities):
    problem, ridge = CASES[case].problem(), CASES[case].ridge
    state, L = state_of(*problem, ridge), len(problem[2])
    expected = reference.naive_expectation(*problem, L, ridge, "expected-accuracy", "linearized", P[probabilities])
    scores = CRITERIA["expected-accuracy"].scores(state, LOSSES[probabilities], block=3)
    np.testing.assert_allclose(scores, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["margin-variance", "margin-influence"])
@pytest.mark.parametrize(("case", "probabilities"), BY_PROBABILITIES)
def test_the_variance_taken_from_unsure_points_equals_its_definition(case, probabilities, name):
    problem, ridge = CASES[case].problem(), CASES[case].ridge
    state, L = state_of(*problem, ridge), len(problem[2])
    expected = reference.naive_unsure_variance(*problem, L, ridge, name == "margin-influence", P[probabilities])
    scores = CRITERIA[name].scores(state, LOSSES[probabilities], block=3)
    np.testing.assert_allclose(scores, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e25])
def test_the_variance_taken_does_not_depend_on_the_units_of_a_covariance_in_float32(scale):
    """Squares of float32 are 0 or infinite from 1e±20 on."""
    exact = state_of(*Case().problem(), 0.0)
    state = dataclasses.replace(
        exact, S=(exact.S * scale).astype(np.float32), variance=exact.variance * scale, epsilon=exact.epsilon * scale
    )
    expected, scores = (CRITERIA["margin-influence"].scores(one) for one in (exact, state))
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_eer_is_the_same_whatever_is_measured():
    state = state_of(*Case().problem(), 0.0)
    expected = CRITERIA["eer"].scores(state, measure=Measure("network"))
    for distance in DISTANCES:
        np.testing.assert_array_equal(
            CRITERIA["eer"].scores(state, measure=Measure("linearized", distance), block=3), expected
        )


def test_what_a_label_is_expected_to_gain_is_worked_by_hand():
    """Label 0 (p = 0.6) takes point 0 to (1, 0) and point 1 to (0.65, 0.35); label 1 to (0, 1) and (0.15, 0.85).

    The gain: 0.6 (0.4 + 0.1) + 0.4 (0.4 + 0.3) = 0.58; the flips: point 1 under label 0, point 0 under label 1.
    """
    assert CRITERIA["expected-accuracy"].scores(HAND)[0] == pytest.approx(0.58)
    assert CRITERIA["emoc-flips"].scores(HAND)[0] == pytest.approx(0.6 + 0.4, abs=2e-6)
    # m = (0.8, 0.9, 0): 0.8 (0.8 · 1 + 0.9 · 0.25)
    assert CRITERIA["margin-variance"].scores(HAND)[0] == pytest.approx(0.82)
    assert CRITERIA["margin-variance"].scores(HAND)[2] == 0  # sure


def test_the_gain_is_never_negative_while_outputs_stay_in_the_simplex():
    rng = np.random.default_rng(0)
    f = rng.dirichlet(np.full(4, 20.0), 30)
    S = rng.uniform(0, 0.1, (30, 30))
    assert f.min() > 0.1 * f.max()  # what is left of a class after a label of another
    S = (S + S.T) / 2
    np.fill_diagonal(S, 1.0)  # the candidates themselves go to their labels
    gain = CRITERIA["expected-accuracy"].scores(posterior_by_hand(f, f, S))
    assert gain.min() > -1e-12
    assert gain.max() > 0.01


@pytest.mark.parametrize("name", COVARIANCE)
@pytest.mark.parametrize("probabilities", P)
@pytest.mark.parametrize("distance", DISTANCES)
def test_huge_outputs_and_influences_give_finite_scores(name, probabilities, distance):
    theta, f, Y = Case(U=9, C=4, scale=300.0).problem()
    state = state_of(theta, f, Y, 0.0)
    S = state.S.copy()
    S[0, 1:] = S[1:, 0] = np.linspace(-2, 2, 8)
    S[0, 0] = 2e-3
    state = dataclasses.replace(state, S=S, variance=np.diag(S).copy())
    scores = CRITERIA[name].scores(state, LOSSES[probabilities], Measure("network", distance), 4)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", [name for name in COVARIANCE if name != "eer"])
@pytest.mark.parametrize("probabilities", P)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("reference_name", REFERENCES)
def test_a_redundant_candidate_gains_nothing(name, probabilities, distance, reference_name):
    state = state_of(*Case().problem(), 0.0)
    redundant = np.arange(7) == 3
    state = dataclasses.replace(state, redundant_rows=redundant)
    scores = CRITERIA[name].scores(state, LOSSES[probabilities], Measure(reference_name, distance), 4)
    assert scores[3] == 0
    assert scores.any()


@pytest.mark.parametrize("name", ["mlmoc", "emoc"])
@pytest.mark.parametrize("probabilities", P)
@pytest.mark.parametrize("distance", DISTANCES)
def test_what_finishing_training_is_worth(name, probabilities, distance):
    """Of a network whose candidates tell nothing, that is the whole score."""
    criterion, state = CRITERIA[name], state_of(*Case().problem(), 0.0)
    loss, measure = LOSSES[probabilities], Measure("network", distance)
    request = criterion.request(loss, measure)
    still = dataclasses.replace(state, S=state.S * 1e-14)
    np.testing.assert_allclose(criterion.scores(still, loss, measure, 4), criterion.finishing(state, request))
    assert criterion.finishing(dataclasses.replace(state, f=state.mean), request) == 0


def test_an_unknown_measure_lists_the_known_ones():
    with pytest.raises(LinearizeError, match="reference: expected one of network, linearized; got 'f'"):
        Measure("f").check()
    with pytest.raises(LinearizeError, match="distance: expected one of outputs, simplex; got 'l1'"):
        Measure(None, "l1").check()
    Measure(None, "simplex").check()
