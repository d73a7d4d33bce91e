import numpy as np
import pytest
from scipy.sparse.linalg import ArpackNoConvergence

from linearize import linalg
from linearize.errors import LinearizeError, SingularKernelError
from linearize.linalg import DIRECT, JITTER_LADDER, cholesky, condition_number, less_gram
from linearize.posterior import Dense, LabelledFactor, Targets
from linearize.types import Kernel


def random_spd(n, smallest=1.0, seed=0):
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]
    return (Q * np.geomspace(smallest, 1.0, n)) @ Q.T


def test_factor_of_a_well_conditioned_matrix_needs_no_jitter():
    K = random_spd(20, 1e-3)
    F, jitter = cholesky(K)
    assert jitter == 0.0
    np.testing.assert_allclose(F @ F.T, K, atol=1e-14)
    assert np.array_equal(F, np.tril(F))


def test_a_rank_deficient_matrix_takes_the_smallest_jitter_that_works():
    v = np.random.default_rng(0).normal(size=(30, 5))
    K = v @ v.T - 1e-9 * np.eye(30)
    F, jitter = cholesky(K)
    mean = np.mean(np.diag(K))
    assert jitter in [relative * mean for relative in JITTER_LADDER[1:]]
    np.testing.assert_allclose(F @ F.T, K + jitter * np.eye(30), atol=1e-12)
    smaller = JITTER_LADDER[[relative * mean for relative in JITTER_LADDER].index(jitter) - 1] * mean
    assert np.linalg.eigvalsh(K + smaller * np.eye(30))[0] <= 1e-14


def test_an_indefinite_matrix_is_refused_not_returned_as_nan():
    with pytest.raises(SingularKernelError, match="set a ridge"):
        cholesky(np.diag([1.0, -1.0]))


@pytest.mark.parametrize("N", [1, 5, 6, 7, 17])
def test_a_gram_matrix_is_taken_away_in_squares(N, monkeypatch):
    monkeypatch.setattr(linalg, "PART", 6)
    A, B = np.random.default_rng(0).normal(size=(4, N)), random_spd(N)
    out = np.full((N, N), np.nan)
    less_gram(B, A, out=out)
    np.testing.assert_allclose(out, B - A.T @ A, rtol=1e-13, atol=1e-13)
    assert (out == out.T).all()
    rounded = np.full((N, N), np.nan, np.float32)
    less_gram(B, A, out=rounded)
    np.testing.assert_array_equal(rounded, out.astype(np.float32))


@pytest.mark.parametrize("L", [1, 5, 6, 7, 17, 24])
def test_a_factor_in_squares_is_the_whole_one(L, monkeypatch):
    monkeypatch.setattr(linalg, "SQUARE", 6)
    K = random_spd(L, 1e-2)
    F, jitter = cholesky(K)
    assert jitter == 0
    np.testing.assert_allclose(F, np.linalg.cholesky(K), rtol=1e-12, atol=1e-13)


def test_a_factor_in_squares_sees_what_is_not_positive_definite(monkeypatch):
    monkeypatch.setattr(linalg, "SQUARE", 6)
    with pytest.raises(SingularKernelError):
        cholesky(np.diag([1.0] * 10 + [-1.0]))


def test_a_condition_number_that_does_not_converge_takes_all_eigenvalues(monkeypatch):
    def fail(*_arguments, **_options):
        raise ArpackNoConvergence("no convergence", np.zeros(0), np.zeros((0, 0)))

    monkeypatch.setattr(linalg, "eigsh", fail)
    K = random_spd(DIRECT + 5, 1e-3)
    assert condition_number(cholesky(K).F) == pytest.approx(1e3)


@pytest.mark.parametrize("n", [3, DIRECT, DIRECT + 1, 300])
@pytest.mark.parametrize("smallest", [1.0, 1e-2, 1e-6, 1e-10])
def test_the_condition_number_from_the_factor(n, smallest):
    K = random_spd(n, smallest)
    eigenvalues = np.linalg.eigvalsh(K)
    assert condition_number(cholesky(K).F) == pytest.approx(eigenvalues[-1] / eigenvalues[0], rel=1e-3)


def test_the_condition_number_of_a_kernel_that_took_a_jitter_is_infinite():
    v = np.random.default_rng(0).normal(size=(6, 2))
    singular = v @ v.T - 1e-9 * np.eye(6)
    f, Y = np.zeros((6, 2)), np.eye(2)[[0, 1, 0, 1, 0, 1]]
    assert LabelledFactor.of(singular, np.zeros((6, 1)), f, Y).condition_number == float("inf")
    assert LabelledFactor.of(np.diag([4.0, 2, 1, 1, 1, 0.5]), np.zeros((6, 1)), f, Y).condition_number == (
        pytest.approx(8)
    )


def test_a_posterior_refuses_shapes_that_do_not_fit():
    kernel = Kernel(np.eye(3), np.zeros((3, 4)), np.eye(4))
    with pytest.raises(LinearizeError, match="posterior: expected"):
        Dense.init(kernel, Targets(np.zeros((3, 2)), np.zeros((5, 2)), np.zeros((3, 2))))
    with pytest.raises(LinearizeError, match="ridge: expected a number of at least 0, got -1"):
        Dense.init(kernel, Targets(np.zeros((3, 2)), np.zeros((4, 2)), np.zeros((3, 2))), ridge=-1.0)
