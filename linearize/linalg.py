"""Cholesky factorisation in float64 that is checked, and repaired only by a recorded jitter.

It runs on the host, in LAPACK: the labelled set grows in every cycle, and there no new size compiles anything.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from linearize.errors import SingularKernelError
from linearize.types import Float64

JITTER_LADDER = (0.0, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
"""Jitters tried in turn, relative to the mean diagonal of K."""


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
            F = np.asarray(np.linalg.cholesky(K + jitter * np.eye(len(K))), np.float64)
        except np.linalg.LinAlgError:
            continue
        if np.isfinite(F).all():
            return Factor(F, jitter)
    raise SingularKernelError(
        f"the kernel of the {len(K)} labelled examples is singular even with a jitter of "
        f"{JITTER_LADDER[-1]:g} of its mean diagonal: set a ridge (kernel.ridge), remove duplicate labelled examples, "
        "or check that the network is not constant"
    )


def solve_lower(F: Float64, B: Float64) -> Float64:
    """Return F⁻¹ B for a lower triangular F ``[L, L]`` and B ``[L, M]``.

    Args:
        F: lower triangular ``[L, L]``.
        B: ``[L, M]``.

    """
    return np.asarray(solve_triangular(F, B, lower=True, check_finite=False))


def condition_number(K: Float64) -> float:
    """Return κ(K) = λ_max / λ_min of a symmetric matrix; infinite where λ_min is not positive."""
    eigenvalues = np.linalg.eigvalsh(K)
    return float(eigenvalues[-1] / eigenvalues[0]) if eigenvalues[0] > 0 else float("inf")
