"""Sequential updates against fitting again after every answer."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest
from click.testing import CliRunner

import cases
from linearize.criteria import CRITERIA, REFERENCES
from linearize.errors import LinearizeError
from linearize.regression import fit
from linearize.sequential import Sequential
from linearize.types import Kernel

ROOT = Path(__file__).parents[2]
L, U, C = 9, 14, 4


def problem(seed=0, copies=(), L=L, U=U, rank=None):
    """Blocks of a random kernel with outputs and targets; ``copies`` maps pool points to those they repeat."""
    theta, f, Y = cases.random_regression(seed, L, U, C, rank=rank)
    index = np.arange(L + U)
    for copy, original in dict(copies).items():
        index[L + copy] = L + original
    theta, f = theta[np.ix_(index, index)], f[index]
    return Kernel(theta[:L, :L], theta[:L, L:], theta[L:, L:]), f[:L], f[L:], Y


def fit_again(kernel, f_X, f_U, Y, answers, ridge):
    """The regression with the answers moved from the pool to the labelled set, and which points are left."""
    asked = [candidate for candidate, _ in answers]
    left = np.setdiff1d(np.arange(len(f_U)), asked)
    XX = np.block([[kernel.XX, kernel.XU[:, asked]], [kernel.XU[:, asked].T, kernel.UU[np.ix_(asked, asked)]]])
    XU = np.vstack([kernel.XU, kernel.UU[asked]])[:, left]
    targets = np.vstack([Y, *(y[None] for _, y in answers)])
    blocks = Kernel(XX, XU, kernel.UU[np.ix_(left, left)])
    return fit(blocks, np.vstack([f_X, f_U[asked]]), f_U[left], targets, ridge=ridge), left


def assert_equal(state, again, left, rtol=1e-8):
    """On the points that are left; the network of a sequential state is the linearised one."""
    np.testing.assert_allclose(state.f_lin[left], again.f_lin, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(state.S[np.ix_(left, left)], again.S, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(state.u[left], again.u, rtol=rtol)
    np.testing.assert_array_equal(state.redundant[left], again.redundant)


@pytest.mark.parametrize("ridge", [0.0, 1e-3, 0.3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_answer_equals_fitting_again(ridge, seed):
    data = problem(seed)
    sequential = Sequential.fit(*data, ridge=ridge)
    rng = np.random.default_rng(seed)
    answers = []
    for candidate in rng.permutation(U)[: U - 2]:
        answers.append((candidate, np.eye(C)[rng.integers(C)]))
        sequential.answer(*answers[-1])
        again, left = fit_again(*data, answers, ridge)
        assert_equal(sequential.state, again, left)
        np.testing.assert_array_equal(np.flatnonzero(~sequential.answered), left)


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("reference_name", REFERENCES)
@pytest.mark.parametrize("ridge", [0.0, 1e-2])
def test_every_criterion_rescores_as_if_fitted_again(name, reference_name, ridge):
    data = problem(4)
    sequential = Sequential.fit(*data, ridge=ridge)
    answers = []
    for _ in range(4):
        candidate = sequential.best(name, reference_name)
        answers.append((candidate, np.eye(C)[candidate % C]))
        sequential.answer(*answers[-1])
        again, left = fit_again(*data, answers, ridge)
        relabelled = again._replace(f=again.f_lin, a=0 * again.a)  # labels are imagined from the updated f_lin
        expected = CRITERIA[name].scores(relabelled, reference_name)
        scores = sequential.scores(name, reference_name)
        np.testing.assert_allclose(scores[left], expected, rtol=1e-5 if name == "eer" else 1e-8)
        assert (scores[[asked for asked, _ in answers]] == -np.inf).all()
        assert sequential.best(name, reference_name) == left[expected.argmax()]


def test_before_the_first_answer_the_scores_are_the_regressions_own():
    data = problem()
    sequential = Sequential.fit(*data)
    for name, criterion in CRITERIA.items():
        for reference_name in REFERENCES:
            expected = criterion.scores(fit(*data), reference_name)
            np.testing.assert_array_equal(sequential.scores(name, reference_name), expected)
        np.testing.assert_array_equal(
            sequential.scores(name), criterion.scores(fit(*data), criterion.default_reference)
        )


def test_hypothetical_labels_follow_the_answers():
    """An answer that turns f_lin around turns the label around that the other points are imagined to get."""
    data = problem(1)
    sequential = Sequential.fit(*data)
    before = sequential.state.f.argmax(1)
    sequential.answer(0, 50 * np.eye(C)[3])
    assert (sequential.state.f.argmax(1) != before)[1:].any()
    np.testing.assert_array_equal(sequential.state.f, sequential.state.f_lin)


@pytest.mark.parametrize("ridge", [0.0, 1e-2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CRITERIA)
def test_exact_copies_are_not_asked_twice(ridge, dtype, name):
    """Points 5, 6 and 9 repeat 2: of the four, one is asked before everything else is."""
    copies = {5: 2, 6: 2, 9: 2}
    sequential = Sequential.fit(*problem(3, copies), ridge=ridge, dtype=dtype)
    asked = []
    for _ in range(U - 3):
        asked.append(sequential.best(name))
        sequential.answer(asked[-1], np.eye(C)[asked[-1] % C])
    assert len(set(asked) & {2, *copies}) == 1
    assert len(set(asked)) == U - 3
    while not sequential.answered.all():  # the copies can still be asked, when nothing else is left
        sequential.answer(sequential.best(name), np.eye(C)[0])
    with pytest.raises(LinearizeError, match="all 14 points"):
        sequential.best(name)


@pytest.mark.parametrize("ridge", [0.0, 0.5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_copies_of_an_answered_point_become_redundant_whatever_the_ridge(ridge, dtype):
    sequential = Sequential.fit(*problem(3, {5: 2, 6: 2}), ridge=ridge, dtype=dtype)
    assert not sequential.state.redundant.any()
    sequential.answer(2, np.eye(C)[0])
    assert np.flatnonzero(sequential.state.redundant).tolist() == [2, 5, 6]


def test_what_two_answers_tell_together_becomes_redundant():
    """Point 5 has the features of 2 and twice those of 3: a copy of neither."""
    kernel, f_X, f_U, Y = problem()
    mix = np.eye(L + U)
    mix[L + 5] = mix[L + 2] + 2 * mix[L + 3]
    theta = mix @ np.block([[kernel.XX, kernel.XU], [kernel.XU.T, kernel.UU]]) @ mix.T
    sequential = Sequential.fit(Kernel(theta[:L, :L], theta[:L, L:], theta[L:, L:]), f_X, f_U, Y)
    sequential.answer(2, np.eye(C)[0])
    assert np.flatnonzero(sequential.state.redundant).tolist() == [2]
    sequential.answer(3, np.eye(C)[0])
    assert np.flatnonzero(sequential.state.redundant).tolist() == [2, 3, 5]


def test_an_answer_for_a_redundant_point_only_drops_it():
    data = problem(3, {5: 2})
    sequential = Sequential.fit(*data)
    sequential.answer(2, np.eye(C)[0])
    f_lin, S = sequential.state.f_lin.copy(), sequential.state.S.copy()
    sequential.answer(5, np.eye(C)[1])
    left = np.setdiff1d(np.arange(U), [2, 5])
    np.testing.assert_array_equal(sequential.state.f_lin[left], f_lin[left])
    np.testing.assert_array_equal(sequential.state.S[np.ix_(left, left)], S[np.ix_(left, left)])
    assert sequential.refit().jitter == 0  # a second copy would have made K singular


def test_the_jitter_of_the_fit_is_part_of_its_ridge():
    kernel, f_X, f_U, Y = problem(4, L=30, U=12, rank=25)
    kernel = kernel._replace(XX=kernel.XX - 1e-5 * np.eye(30), UU=kernel.UU + 0.5 * np.eye(12))
    regression = fit(kernel, f_X, f_U, Y)
    assert regression.jitter > 0
    sequential = Sequential(regression, np.diag(kernel.UU))
    sequential.answer(3, np.eye(C)[1])
    again, left = fit_again(kernel, f_X, f_U, Y, [(3, np.eye(C)[1])], regression.jitter)
    np.testing.assert_allclose(sequential.state.f_lin[left], again.f_lin, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(sequential.state.u[left], again.u, rtol=1e-6)


def test_the_callers_arrays_are_never_written_to():
    data = problem()
    regression = fit(*data)
    arrays = [*data[0], *data[1:], regression.f, regression.a, regression.S, regression.u, regression.redundant]
    before = [array.copy() for array in arrays]
    for sequential in (Sequential.fit(*data, refresh=2), Sequential(regression, np.diag(data[0].UU))):
        for candidate in range(5):
            sequential.answer(candidate, np.eye(C)[0])
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)


@pytest.mark.parametrize("ridge", [0.0, 1e-2])
def test_a_refresh_fits_again_and_reports_the_drift(ridge):
    data = problem()
    sequential = Sequential.fit(*data, ridge=ridge, refresh=3)
    answers = [(candidate, np.eye(C)[candidate % C]) for candidate in range(7)]
    for answer in answers:
        sequential.answer(*answer)
    assert [drift.answers for drift in sequential.drift] == [3, 6]
    assert all(max(drift.S, drift.u, drift.f_lin) < 1e-12 for drift in sequential.drift)
    again, left = fit_again(*data, answers, ridge)
    assert_equal(sequential.state, again, left)


@pytest.mark.parametrize("name", CRITERIA)
def test_answered_points_stay_out_of_the_sums_after_a_refresh(name):
    data = problem()
    refreshed, updated = (Sequential.fit(*data, ridge=0.1, refresh=refresh) for refresh in (3, 0))
    for candidate in range(3):
        for sequential in (refreshed, updated):
            sequential.answer(candidate, np.eye(C)[candidate])
    np.testing.assert_allclose(refreshed.scores(name), updated.scores(name), rtol=1e-6)


def test_a_refresh_mends_what_has_drifted():
    data = problem()
    sequential = Sequential.fit(*data, refresh=2)
    sequential.answer(0, np.eye(C)[0])
    sequential.state.S[3, 3] += 0.25
    sequential.state.f[4] += 0.125
    sequential.answer(1, np.eye(C)[1])
    (drift,) = sequential.drift
    scaled = drift.S * np.diag(data[0].UU).mean()
    assert scaled == pytest.approx(0.25, rel=0.5)
    assert drift.u > 0.1
    assert drift.f_lin == pytest.approx(0.125, rel=0.1)
    again, left = fit_again(*data, [(0, np.eye(C)[0]), (1, np.eye(C)[1])], 0.0)
    assert_equal(sequential.state, again, left)


def test_float32_drifts_little_and_says_so():
    """60 answers; benchmarks/scoring.py reports 1000."""
    data = problem(L=20, U=100)
    exact, fast = (Sequential.fit(*data, dtype=dtype, refresh=60) for dtype in (np.float64, np.float32))
    for candidate in range(60):
        for sequential in (exact, fast):
            sequential.answer(candidate, np.eye(C)[candidate % C])
    assert fast.state.S.dtype == np.float32
    assert exact.drift[0].u < 1e-10
    assert 1e-9 < fast.drift[0].u < 1e-3


def test_S_stays_symmetric():
    """Blocks of its columns are read as rows."""
    sequential = Sequential.fit(*problem(U=40))
    for candidate in range(30):
        sequential.answer(candidate, np.eye(C)[0])
    np.testing.assert_allclose(sequential.state.S, sequential.state.S.T, atol=1e-13)


def test_what_makes_no_sense_is_refused():
    data = problem()
    sequential = Sequential.fit(*data)
    sequential.answer(2, np.eye(C)[0])
    for candidate, y in ((2, np.eye(C)[0]), (-1, np.eye(C)[0]), (U, np.eye(C)[0]), (3, np.eye(C + 1)[0])):
        with pytest.raises(LinearizeError, match="answer: expected a point of 0 to 13"):
            sequential.answer(candidate, y)
    with pytest.raises(LinearizeError, match="refresh"):
        Sequential.fit(*data, refresh=-1)
    with pytest.raises(LinearizeError, match="ridge of at least 0"):
        Sequential(fit(*data), np.diag(data[0].UU), ridge=-1.0)
    with pytest.raises(LinearizeError, match="keeps the kernel"):
        Sequential(fit(*data), np.diag(data[0].UU)).refit()
    with pytest.raises(LinearizeError, match="expected one of mlmoc"):
        sequential.best("bald")


def test_the_benchmark_runs():
    spec = importlib.util.spec_from_file_location("scoring", ROOT / "benchmarks" / "scoring.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with jax.numpy_rank_promotion("allow"):  # ported networks broadcast as torch does
        result = CliRunner().invoke(module.main, ["--small", "--rounds", "1"])
    assert result.exit_code == 0, result.exception
    for row in (
        "| mlmoc |",
        "| emoc |",
        "| eer (simplex, float32) |",
        "| answer + mlmoc, float64 |",
        "| fit and 20 answers, on demand |",
        "| 50 | float32 |",
    ):
        assert row in result.stdout
