"""Conditioning on answers one by one against fitting again after every answer."""

import dataclasses
import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest
from click.testing import CliRunner

import cases
from linearize.choice import best
from linearize.criteria import CRITERIA, REFERENCES, Measure
from linearize.errors import LinearizeError
from linearize.posterior import Dense, LabelledFactor, Lazy, LazyKernel, Targets
from linearize.posterior.base import REDUNDANT_FLOAT32
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


def fit(kernel, f_X, f_U, Y, ridge=0.0, dtype=np.float64):
    posterior = Dense.init(kernel, Targets(f_X, f_U, Y), ridge=ridge)
    if dtype == np.float64:
        return posterior
    epsilon = REDUNDANT_FLOAT32 * np.diag(kernel.UU)
    return dataclasses.replace(posterior, S=posterior.S.astype(dtype), epsilon=epsilon)


def fit_again(kernel, f_X, f_U, Y, answers, ridge):
    """The posterior with the answers moved from the pool to the labelled set, and which points are left."""
    asked = [candidate for candidate, _ in answers]
    left = np.setdiff1d(np.arange(len(f_U)), asked)
    XX = np.block([[kernel.XX, kernel.XU[:, asked]], [kernel.XU[:, asked].T, kernel.UU[np.ix_(asked, asked)]]])
    XU = np.vstack([kernel.XU, kernel.UU[asked]])[:, left]
    targets = np.vstack([Y, *(y[None] for _, y in answers)])
    blocks = Kernel(XX, XU, kernel.UU[np.ix_(left, left)])
    return fit(blocks, np.vstack([f_X, f_U[asked]]), f_U[left], targets, ridge), left


def assert_equal(state, again, left, rtol=1e-8):
    """On the points that are left; the network of a conditioned posterior is the linearised one."""
    np.testing.assert_allclose(state.mean[left], again.mean, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(state.S[np.ix_(left, left)], again.S, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(state.u[left], again.u, rtol=rtol)
    np.testing.assert_array_equal(state.redundant[left], again.redundant)


def query(posterior, name, measure=None):
    return best(posterior, CRITERIA[name].scores(posterior, measure=measure))[0]


@pytest.mark.parametrize("donate", [False, True])
@pytest.mark.parametrize("ridge", [0.0, 1e-3, 0.3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_answer_equals_fitting_again(ridge, seed, donate):
    data = problem(seed)
    posterior = fit(*data, ridge)
    rng = np.random.default_rng(seed)
    answers = []
    for candidate in rng.permutation(U)[: U - 2]:
        answers.append((int(candidate), np.eye(C)[rng.integers(C)]))
        posterior = posterior.condition(*answers[-1], donate=donate)
        again, left = fit_again(*data, answers, ridge)
        assert_equal(posterior, again, left)
        np.testing.assert_array_equal(np.flatnonzero(~posterior.answered), left)


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("reference_name", REFERENCES)
@pytest.mark.parametrize("ridge", [0.0, 1e-2])
def test_every_criterion_rescores_as_if_fitted_again(name, reference_name, ridge):
    data, measure = problem(4), Measure(reference_name)
    posterior, answers = fit(*data, ridge), []
    for _ in range(4):
        candidate = query(posterior, name, measure)
        answers.append((candidate, np.eye(C)[candidate % C]))
        posterior = posterior.condition(*answers[-1])
        again, left = fit_again(*data, answers, ridge)
        relabelled = dataclasses.replace(again, f=again.mean)  # labels are imagined from the updated f_lin
        expected = CRITERIA[name].scores(relabelled, measure=measure)
        scores = CRITERIA[name].scores(posterior, measure=measure)
        np.testing.assert_allclose(scores[left], expected, rtol=1e-8)
        assert (scores[[asked for asked, _ in answers]] == -np.inf).all()
        assert query(posterior, name, measure) == left[expected.argmax()]


def test_hypothetical_labels_follow_the_answers():
    """An answer that turns f_lin around turns the label around that the other points are imagined to get."""
    posterior = fit(*problem(1))
    after = posterior.condition(0, 50 * np.eye(C)[3])
    assert (after.f.argmax(1) != posterior.f.argmax(1))[1:].any()
    np.testing.assert_array_equal(after.f, after.mean)


@pytest.mark.parametrize("ridge", [0.0, 1e-2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CRITERIA)
def test_exact_copies_are_not_asked_twice(ridge, dtype, name):
    """Points 5, 6 and 9 repeat 2: of the four, one is asked before everything else is."""
    copies = {5: 2, 6: 2, 9: 2}
    posterior = fit(*problem(3, copies), ridge, dtype)
    asked = []
    for _ in range(U - 3):
        asked.append(query(posterior, name))
        posterior = posterior.condition(asked[-1], np.eye(C)[asked[-1] % C])
    assert len(set(asked) & {2, *copies}) == 1
    assert len(set(asked)) == U - 3
    while not posterior.answered.all():  # the copies can still be asked, when nothing else is left
        posterior = posterior.condition(query(posterior, name), np.eye(C)[0])


@pytest.mark.parametrize("ridge", [0.0, 0.5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_copies_of_an_answered_point_become_redundant_whatever_the_ridge(ridge, dtype):
    posterior = fit(*problem(3, {5: 2, 6: 2}), ridge, dtype)
    assert not posterior.redundant.any()
    assert np.flatnonzero(posterior.condition(2, np.eye(C)[0]).redundant).tolist() == [2, 5, 6]


def test_what_two_answers_tell_together_becomes_redundant():
    """Point 5 has the features of 2 and twice those of 3: a copy of neither."""
    kernel, f_X, f_U, Y = problem()
    mix = np.eye(L + U)
    mix[L + 5] = mix[L + 2] + 2 * mix[L + 3]
    theta = mix @ np.block([[kernel.XX, kernel.XU], [kernel.XU.T, kernel.UU]]) @ mix.T
    posterior = fit(Kernel(theta[:L, :L], theta[:L, L:], theta[L:, L:]), f_X, f_U, Y).condition(2, np.eye(C)[0])
    assert np.flatnonzero(posterior.redundant).tolist() == [2]
    assert np.flatnonzero(posterior.condition(3, np.eye(C)[0]).redundant).tolist() == [2, 3, 5]


def test_an_answer_for_a_redundant_point_only_drops_it():
    data = problem(3, {5: 2})
    posterior = fit(*data).condition(2, np.eye(C)[0])
    after = posterior.condition(5, np.eye(C)[1])
    left = np.setdiff1d(np.arange(U), [2, 5])
    np.testing.assert_array_equal(after.mean[left], posterior.mean[left])
    np.testing.assert_array_equal(after.S[np.ix_(left, left)], posterior.S[np.ix_(left, left)])
    assert after.told() == [2]  # a second copy would have made K singular
    assert np.isfinite(after.weights()).all()


def test_the_jitter_of_the_fit_is_part_of_its_ridge():
    kernel, f_X, f_U, Y = problem(4, L=30, U=12, rank=25)
    kernel = kernel._replace(XX=kernel.XX - 1e-5 * np.eye(30), UU=kernel.UU + 0.5 * np.eye(12))
    posterior = fit(kernel, f_X, f_U, Y)
    assert posterior.labelled.jitter > 0
    after = posterior.condition(3, np.eye(C)[1])
    again, left = fit_again(kernel, f_X, f_U, Y, [(3, np.eye(C)[1])], posterior.labelled.jitter)
    np.testing.assert_allclose(after.mean[left], again.mean, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(after.u[left], again.u, rtol=1e-6)


def test_the_callers_arrays_are_never_written_to():
    data = problem()
    arrays = [*data[0], *data[1:]]
    before = [array.copy() for array in arrays]
    posterior = fit(*data)
    for candidate in range(5):
        posterior = posterior.condition(candidate, np.eye(C)[0], donate=True)
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)


def test_the_callers_arrays_may_be_written_to_afterwards():
    data = problem()
    kernel, *arrays = Kernel(*(block.copy() for block in data[0])), *(array.copy() for array in data[1:])
    posterior, expected = fit(kernel, *arrays), fit(*data)
    lazy = Lazy.init(posterior.labelled, LazyKernel(np.diag(kernel.UU), lambda row: kernel.UU[row]), arrays[1])
    for array in (*kernel, *arrays):
        array[:] = np.nan
    for one in (posterior, lazy):
        np.testing.assert_array_equal(one.f, expected.f)
        np.testing.assert_array_equal(one.labelled.Y, expected.labelled.Y)
        np.testing.assert_allclose(one.variance, expected.variance, rtol=1e-12)
        assert np.isfinite(one.leave_one_out("targets").residual).all()


def test_what_is_made_of_a_posteriors_arrays_leaves_it_alone_even_if_donated():
    posterior = fit(*problem()).condition(2, np.eye(C)[0])
    before, arrays = {name: array.copy() for name, array in posterior.arrays().items()}, posterior.arrays()
    expected, other = posterior.condition(4, np.eye(C)[1]), Dense.from_arrays(arrays)
    other = other.condition(4, np.eye(C)[1], donate=True)
    np.testing.assert_array_equal(other.S, expected.S)
    for name, array in posterior.arrays().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
        if array.size:
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0


def test_a_posterior_in_float32_is_read_back_as_it_was():
    posterior = fit(*problem(), dtype=np.float32).condition(2, np.eye(C)[0])
    other = Dense.from_arrays({name: array.copy() for name, array in posterior.arrays().items()})
    for answer in ((4, np.eye(C)[1]), (0, np.eye(C)[3])):
        posterior, other = (one.condition(*answer, donate=True) for one in (posterior, other))
        for name, array in posterior.arrays().items():
            assert other.arrays()[name].dtype == array.dtype, name
            np.testing.assert_array_equal(other.arrays()[name], array, err_msg=name)
    assert other.S.dtype == np.float32
    np.testing.assert_array_equal(other.weights(), posterior.weights())


@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_the_only_labelled_example_is_predicted_by_the_network_alone(ridge):
    kernel, f_X, f_U, Y = problem(L=1)
    posterior = fit(kernel, f_X, f_U, Y, ridge)
    for of, outputs in (("f_lin", f_X), ("targets", 0 * f_X)):
        residual, variance = posterior.leave_one_out(of)
        np.testing.assert_allclose(residual, Y - outputs)
        np.testing.assert_allclose(variance, kernel.XX[0] + ridge)


def test_a_covariance_laid_out_otherwise_is_conditioned_in_place_as_any():
    """By columns, strided, and read-only."""
    start, answers = fit(*problem()), [(candidate, np.eye(C)[candidate % C]) for candidate in (4, 0, 9)]
    expected, fixed = start, start.S.copy()
    fixed.flags.writeable = False
    for answer in answers:
        expected = expected.condition(*answer)
    for S in (np.asfortranarray(start.S), np.kron(start.S, np.ones((2, 2)))[::2, ::2], fixed):
        posterior = dataclasses.replace(start, S=S)
        for answer in answers:
            posterior = posterior.condition(*answer, donate=True)
        np.testing.assert_array_equal(posterior.S, expected.S)
        np.testing.assert_array_equal(posterior.variance, expected.variance)
        np.testing.assert_array_equal(posterior.mean, expected.mean)
    np.testing.assert_array_equal(fixed, start.S)


def test_float32_drifts_little():
    """60 answers; benchmarks/scoring.py reports 1000."""
    data = problem(L=20, U=100)
    exact, fast = (fit(*data, dtype=dtype) for dtype in (np.float64, np.float32))
    answers = [(candidate, np.eye(C)[candidate % C]) for candidate in range(60)]
    for answer in answers:
        exact, fast = (one.condition(*answer, donate=True) for one in (exact, fast))
    assert fast.S.dtype == np.float32
    again, left = fit_again(*data, answers, 0.0)
    alive = ~again.redundant & ~fast.redundant[left]
    off = [np.abs(one.u[left] / again.u - 1)[alive].max() for one in (exact, fast)]
    assert off[0] < 1e-10
    assert 1e-9 < off[1] < 1e-3


def test_S_stays_symmetric():
    """Blocks of its columns are read as rows."""
    posterior = fit(*problem(U=40))
    for candidate in range(30):
        posterior = posterior.condition(candidate, np.eye(C)[0], donate=True)
    np.testing.assert_allclose(posterior.S, posterior.S.T, atol=1e-13)


def test_what_makes_no_sense_is_refused():
    data = problem()
    posterior = fit(*data).condition(2, np.eye(C)[0])
    for candidate, y in ((2, np.eye(C)[0]), (-1, np.eye(C)[0]), (U, np.eye(C)[0]), (3, np.eye(C + 1)[0])):
        with pytest.raises(LinearizeError, match="answer: expected a point of 0 to 13"):
            posterior.condition(candidate, y)
    with pytest.raises(LinearizeError, match="ridge: expected a number of at least 0, got -1"):
        LabelledFactor.of(*data[0][:2], data[1], data[3], ridge=-1.0)
    with pytest.raises(LinearizeError, match=r"posterior: expected Θ\(X,X\)"):
        Dense.init(data[0], Targets(data[1], data[2][:-1], data[3]))


@pytest.mark.long
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
