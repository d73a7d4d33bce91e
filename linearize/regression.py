"""Kernel regression on the labelled set: the linearised network trained to convergence, factored once.

K = Θ(X,X) + λI = F Fᵀ        Φ = F⁻¹ Θ(X,U)
a = Φᵀ F⁻¹ R                  f_lin = f + a
S = Θ(U,U) - Φᵀ Φ             u = diag(S) + λ
"""

from typing import NamedTuple

import numpy as np

from linearize.errors import LinearizeError
from linearize.linalg import cholesky, solve_lower
from linearize.types import Float64, Kernel

REDUNDANT = 1e-6
"""A candidate whose S(x,x) has fallen under this share of Θ(x,x) tells nothing that is not labelled already."""

COPY = 1e-5
"""A candidate whose features are no farther than this from a labelled input's, squared and as a share of Θ(x,x), is a
copy of it; above the rounding of a Θ in float32."""

BLOCK = 512
"""Candidates a block, where an array [L, U] would be a temporary."""


class Regression(NamedTuple):
    """The state that every look-ahead criterion reads."""

    f: Float64  # [U, C] the network's outputs
    a: Float64  # [U, C] what finishing training on X would still add
    S: Float64  # [U, U] posterior covariance
    u: Float64  # [U] new information in each candidate, S(x',x') + λ
    redundant: np.ndarray  # [U] bool, candidates that tell nothing new
    jitter: float  # absolute; what the factorisation had to add to λ

    @property
    def f_lin(self) -> Float64:
        """The linearised network's outputs on the pool, ``[U, C]``."""
        return self.f + self.a


class Factored(NamedTuple):
    """K's factor with what it makes of the pool and of the residual."""

    F: Float64  # [L, L], lower triangular
    Phi: Float64  # [L, U] = F⁻¹ Θ(X,U)
    z: Float64  # [L, C] = F⁻¹ R
    nearest: (
        Float64  # [U] min_l Θ(l,l) - 2 Θ(x,l); with Θ(x,x), the squared distance of x to the nearest labelled input
    )
    jitter: float  # absolute; what the factorisation had to add to λ


class Rectangle(NamedTuple):
    """The regression without S: what Θ(U,X) and the diagonal of Θ(U,U) tell."""

    f: Float64  # [U, C] the network's outputs
    a: Float64  # [U, C] what finishing training on X would still add
    variance: Float64  # [U] S(x,x)
    u: Float64  # [U] new information in each candidate, S(x,x) + λ
    redundant: np.ndarray  # [U] bool, candidates that tell nothing new
    jitter: float

    @property
    def f_lin(self) -> Float64:
        """The linearised network's outputs on the pool, ``[U, C]``."""
        return self.f + self.a


def fit_bytes(L: int, U: int) -> int:
    """Return the bytes that ``fit`` has alive at its peak: Θ, its factor and Φ, and S."""
    return 8 * ((L + U) ** 2 + 2 * L * L + L * U + U * U)


def rectangle_bytes(L: int, U: int) -> int:
    """Return the bytes that ``factor`` and ``fit_rectangle`` have alive at their peak: Θ(X∪U,X), F, Φ and Φ squared."""
    return 8 * (3 * L * L + 3 * L * U)


def absolute_ridge(XX: Float64, ridge: float) -> float:
    """Return λ in the units of Θ(X,X) ``[L, L]`` from one relative to its mean diagonal."""
    return ridge * float(np.mean(np.diag(XX)))


def factor(XX: Float64, XU: Float64, f_X: np.ndarray, Y: np.ndarray, *, ridge: float = 0.0) -> Factored:
    """Factor K = Θ(X,X) + λI and solve with it what the pool and the residual need.

    Args:
        XX: Θ(X,X) ``[L, L]``.
        XU: Θ(X,U) ``[L, U]``.
        f_X: outputs on the labelled set ``[L, C]``.
        Y: targets ``[L, C]``: one-hot, or what ``residuals.targets`` makes of one-hot labels.
        ridge: λ ≥ 0, absolute, in the kernel's units.

    Raises:
        LinearizeError: the ridge is negative.
        SingularKernelError: K cannot be factored.

    """
    if ridge < 0:
        raise LinearizeError(f"ridge: expected a number of at least 0, got {ridge}")
    F, jitter = cholesky(XX + ridge * np.eye(len(XX)))
    R = np.asarray(Y, np.float64) - np.asarray(f_X, np.float64)  # [L, C]
    return Factored(F, solve_lower(F, XU), solve_lower(F, R), _nearest(np.diag(XX), XU), jitter)


def fit(kernel: Kernel, f_X: np.ndarray, f_U: np.ndarray, Y: np.ndarray, *, ridge: float = 0.0) -> Regression:
    """Finish training on the labelled set in the linearised network.

    f_lin(x) = f(x) + Θ(x,X) K⁻¹ (Y - f(X)).  Source: look-ahead paper, eqs. 8 and 11.

    Args:
        kernel: Θ's blocks over labelled ∪ pool.
        f_X: outputs on the labelled set ``[L, C]``.
        f_U: outputs on the pool ``[U, C]``.
        Y: targets ``[L, C]``: one-hot, or what ``residuals.targets`` makes of one-hot labels.
        ridge: λ ≥ 0, absolute, in the kernel's units.

    Returns:
        The regression's state, float64.

    Raises:
        LinearizeError: the shapes do not fit together or the ridge is negative.
        SingularKernelError: K cannot be factored.

    """
    L, U = kernel.XU.shape
    if kernel.XX.shape != (L, L) or kernel.UU.shape != (U, U) or len(f_X) != L or len(f_U) != U or Y.shape != f_X.shape:
        raise LinearizeError(
            f"regression: expected Θ(X,X) [{L},{L}], Θ(U,U) [{U},{U}], f(X) and Y [{L},C], f(U) [{U},C]; got "
            f"{kernel.XX.shape}, {kernel.UU.shape}, {f_X.shape}, {Y.shape}, {f_U.shape}"
        )
    return complete(factor(kernel.XX, kernel.XU, f_X, Y, ridge=ridge), kernel.UU, f_U, ridge=ridge)


def complete(factored: Factored, UU: Float64, f_U: np.ndarray, *, ridge: float = 0.0) -> Regression:
    """Make the regression's state of a factored kernel and Θ(U,U) ``[U, U]``; the rest is as in ``fit``."""
    Phi = factored.Phi
    a = Phi.T @ factored.z  # [U, C]
    S = Phi.T @ Phi  # [U, U]
    np.subtract(UU, S, out=S)
    u, redundant = _information(np.diag(S), np.diag(UU), factored, ridge)
    return Regression(np.asarray(f_U, np.float64), a, S, u, redundant, factored.jitter)


def fit_rectangle(factored: Factored, prior: Float64, f_U: np.ndarray, *, ridge: float = 0.0) -> Rectangle:
    """Make what takes no Θ(U,U) of a factored kernel and Θ(x,x) of the pool ``[U]``; the rest is as in ``fit``."""
    Phi = factored.Phi
    variance = prior - (Phi**2).sum(0)  # [U]
    u, redundant = _information(variance, prior, factored, ridge)
    return Rectangle(np.asarray(f_U, np.float64), Phi.T @ factored.z, variance, u, redundant, factored.jitter)


def nearest_labelled(labelled: Float64, XU: Float64) -> np.ndarray:
    """Return which labelled input has the nearest features, argmin_l Θ(l,l) - 2 Θ(x,l) ``[U]``, in blocks of U.

    Args:
        labelled: Θ(l,l) ``[L]``.
        XU: Θ(X,U) ``[L, U]``.

    """
    nearest = np.empty(XU.shape[1], np.intp)
    for start in range(0, len(nearest), BLOCK):
        columns = slice(start, start + BLOCK)
        nearest[columns] = (labelled[:, None] - 2 * XU[:, columns]).argmin(0)
    return nearest


def _nearest(labelled: Float64, XU: Float64) -> Float64:
    """Return min_l Θ(l,l) - 2 Θ(x,l) ``[U]``; the arguments are those of ``nearest_labelled``."""
    nearest = nearest_labelled(labelled, XU)
    return np.asarray(labelled[nearest] - 2 * XU[nearest, np.arange(len(nearest))])


def _information(variance: Float64, prior: Float64, factored: Factored, ridge: float) -> tuple[Float64, np.ndarray]:
    """Return u(x) and whether x is redundant, ``[U]`` both.

    It is where nothing is left of its variance or, whatever the ridge, where it is a copy of a labelled input: the
    oracle would only repeat itself.
    """
    jitter = factored.jitter
    lam = ridge + jitter  # the λ that K was factored with, whichever part of it was asked for
    redundant = (variance <= REDUNDANT * prior + 2 * jitter) | (prior + factored.nearest <= COPY * prior)
    # A redundant candidate's S is rounding; u = 1 keeps the quotients finite, and `redundant` makes its score 0.
    return np.where(redundant, 1.0, variance + lam), redundant
