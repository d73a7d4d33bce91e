"""Cholesky factorisation in float64 that is checked, and repaired only by a recorded jitter.

It runs on the host, in LAPACK: the labelled set grows in every cycle, and there no new size compiles anything.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from linearize.errors import SingularKernelError
from linearize.types import Float64

JITTER_LADDER = (0.0, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
"""Jitters tried in turn, relative to the mean diagonal of K."""
SQUARE = 8192
"""Rows of a matrix that is factored at once: with 20,000, OpenBLAS 0.3.31 ends the process by a segmentation fault on
more than one thread (``syrk``, which its ``potrf`` and a product Aᵀ A call)."""
PART = 2048
"""Rows and columns of a product Aᵀ A that are a temporary."""
DIRECT = 100
"""Rows up to which a condition number is computed by all singular values."""


class Factor(NamedTuple):
    """F Fᵀ = K + jitter·I."""

    F: Float64  # [L, L], lower triangular
    jitter: float  # absolute


def cholesky(K: Float64) -> Factor:
    """Factor a symmetric positive definite matrix, adding the smallest jitter of the ladder that works.

    F Fᵀ = K + jitter·I, jitter ∈ mean(diag K) · ``JITTER_LADDER``.

    Args:
        K: symmetric ``[L, L]``, float64.

    Returns:
        The lower factor and the absolute jitter that it took (0.0 as a rule).

    Raises:
        SingularKernelError: K is not positive definite even with the largest jitter.

    """
    mean_diagonal = float(np.mean(np.diag(K)))
    for relative in JITTER_LADDER:
        jitter = relative * mean_diagonal
        try:
            F = _lower_factor(K + jitter * np.eye(len(K)))
        except np.linalg.LinAlgError:
            continue
        if np.isfinite(F).all():
            return Factor(F, jitter)
    raise SingularKernelError(
        f"the kernel of the {len(K)} labelled examples is singular even with a jitter of "
        f"{JITTER_LADDER[-1]:g} of its mean diagonal: set a ridge (kernel.ridge), remove duplicate labelled examples, "
        "or check that the network is not constant"
    )


def _lower_factor(K: Float64) -> Float64:
    """F with F Fᵀ = K, a square of ``SQUARE`` rows at a time, left to right; raises ``LinAlgError``."""
    L = len(K)
    if L <= SQUARE:
        return np.asarray(np.linalg.cholesky(K), np.float64)
    F, own = np.zeros((L, L)), np.empty((SQUARE, SQUARE))
    for start in range(0, L, SQUARE):
        rows, rest = slice(start, start + SQUARE), slice(start + SQUARE, None)
        done = F[rows, :start]
        square = own[: len(done), : len(done)]
        less_gram(K[rows, rows], done.T, out=square)
        F[rows, rows] = np.linalg.cholesky(square)
        F[rest, rows] = solve_lower(F[rows, rows], (K[rest, rows] - F[rest, :start] @ done.T).T).T
    return F


def solve_lower(F: Float64, B: Float64) -> Float64:
    """Return F⁻¹ B for a lower triangular F ``[L, L]`` and B ``[L, M]``.

    Args:
        F: lower triangular ``[L, L]``.
        B: ``[L, M]``.

    """
    return np.asarray(solve_triangular(F, B, lower=True, check_finite=False))


def less_gram(B: Float64, A: Float64, out: np.ndarray) -> None:
    """Write B - Aᵀ A to ``out``, as symmetric as B; computed in float64, whatever ``out`` keeps it in.

    Args:
        B: symmetric ``[N, N]``.
        A: ``[L, N]``.
        out: ``[N, N]``, other memory than that of B.

    """
    parts = [slice(start, start + PART) for start in range(0, A.shape[1], PART)]
    for n, rows in enumerate(parts):
        own = A[:, rows]
        for columns in parts[n:]:
            np.subtract(B[rows, columns], own.T @ A[:, columns], out=out[rows, columns], casting="same_kind")
            if columns != rows:
                out[columns, rows] = out[rows, columns].T


def condition_number(F: Float64) -> float:
    """Return κ(F Fᵀ) = λ_max / λ_min from the factor, to three digits.

    Both by Lanczos iteration, the smallest on the inverse: two solves with F a step, O(L²), where all eigenvalues take
    O(L³).

    Args:
        F: lower triangular ``[L, L]``.

    """
    L = len(F)
    if L <= DIRECT:
        return float(np.linalg.cond(F) ** 2)

    def inverse(v: Float64) -> Float64:
        return solve_triangular(F, solve_lower(F, v), lower=True, trans="T", check_finite=False)

    def largest(product: Callable[[Float64], Float64]) -> float:
        start = np.random.default_rng(0).normal(size=L)  # the same in every run
        [value] = eigsh(LinearOperator((L, L), product), k=1, which="LA", tol=1e-4, v0=start, return_eigenvectors=False)
        return float(value)

    try:
        return largest(lambda v: F @ (F.T @ v)) * largest(inverse)
    except ArpackNoConvergence:
        return float(np.linalg.cond(F) ** 2)
