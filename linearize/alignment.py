"""How a kernel and labels agree: alignment, generalisation bound, convergence, and the distance of two labelled sets.

Θ is the N×N kernel of which the NTK of K outputs is Θ ⊗ I_K, λ_i and v_i its eigenvalues and vectors, Y one-hot.
Source: Wang et al. 2022, section 4; see ``linearize.dynamics`` for what is read of gradients alone.
"""

from typing import NamedTuple

import numpy as np

from linearize.errors import LinearizeError
from linearize.linalg import cholesky, solve_lower
from linearize.types import Float64

ROUNDING = 1e-9
"""Share of the larger side by which an inequality may fail and still be called true."""


class Spectrum(NamedTuple):
    """What a kernel does to labels along each of its eigenvectors: one decomposition serves both theorems.

    Args:
        eigenvalues: λ, rising ``[N]``.
        weights: Σ_k (v_i·Y^k)² ``[N]``, which add up to Tr[YᵀY].

    """

    eigenvalues: Float64
    weights: Float64

    @classmethod
    def of(cls, theta: Float64, Y: np.ndarray) -> "Spectrum":
        """Decompose a kernel.

        Args:
            theta: Θ ``[N, N]``.
            Y: ``[N, K]``.

        """
        eigenvalues, vectors = np.linalg.eigh(theta)
        return cls(eigenvalues, ((vectors.T @ Y) ** 2).sum(1))

    @property
    def alignment(self) -> float:
        """A = Σ_i λ_i Σ_k (v_i·Y^k)²."""
        return float(self.eigenvalues @ self.weights)


class Bounded(NamedTuple):
    """A number and what a theorem says that it lies between.

    Args:
        low: the lower bound.
        value: the number.
        high: the upper bound.

    """

    low: float
    value: float
    high: float

    @property
    def holds(self) -> bool:
        """Whether it does, up to rounding."""
        return _at_most(self.low, self.value) and _at_most(self.value, self.high)


def alignment(theta: Float64, Y: np.ndarray) -> float:
    """Return A = Tr[Yᵀ Θ Y] = Σ_k Σ_i λ_i (v_i·Y^k)².

    Source: Wang et al. 2022, definition 1.

    Args:
        theta: Θ ``[N, N]``.
        Y: ``[N, K]``.

    """
    return float(np.einsum("nk,nm,mk->", Y, theta, Y, optimize=True))


def generalisation_bound(theta: Float64, Y: np.ndarray) -> float:
    """Return B = √(2 Tr[Yᵀ Θ⁻¹ Y] / N), the leading term of a bound of the risk.

    Source: Wang et al. 2022, eq. 18, after Arora et al. 2019.

    Args:
        theta: Θ ``[N, N]``, positive definite; a jitter as of ``linalg.cholesky`` is added where it is not.
        Y: ``[N, K]``.

    Raises:
        SingularKernelError: Θ cannot be factored.

    """
    Z = solve_lower(cholesky(theta).F, np.asarray(Y, np.float64))  # [N, K]
    return float(np.sqrt(2 * (Z**2).sum() / len(Y)))


def squared_error_after(spectrum: Spectrum, eta: float, t: int) -> float:
    """Return E_t² = Σ_k Σ_i (1 - η λ_i)^{2t} (v_i·Y^k)², what t steps of gradient descent on ½‖f - Y‖² from 0 leave.

    Source: Wang et al. 2022, eq. 16.

    Args:
        spectrum: of Θ and Y.
        eta: η, the learning rate.
        t: steps.

    """
    return float(np.abs(1 - eta * spectrum.eigenvalues) ** (2 * t) @ spectrum.weights)


def convergence(spectrum: Spectrum, eta: float, t: int) -> Bounded:
    """Return Tr[YᵀY] - 2tηA ≤ E_t² ≤ Tr[YᵀY] - ηA, which is true for 0 ≤ ηλ_i ≤ 1 and t ≥ 1.

    Source: Wang et al. 2022, theorem 1.

    Args:
        spectrum: of Θ and Y.
        eta: η.
        t: steps.

    """
    whole, A = float(spectrum.weights.sum()), spectrum.alignment
    return Bounded(whole - 2 * t * eta * A, squared_error_after(spectrum, eta, t), whole - eta * A)


def bound_by_alignment(spectrum: Spectrum, bound: float, *, tight: bool = False) -> Bounded:
    """Return Tr²[YᵀY]/A ≤ (N/2) B² ≤ κ Tr²[YᵀY]/A, κ = λmax/λmin.

    Source: Wang et al. 2022, theorem 2; ``tight`` takes Kantorovich's (λmin + λmax)²/(4 λmin λmax) for κ.

    Args:
        spectrum: of Θ and Y.
        bound: B.
        tight: whether the upper bound is the best one.

    """
    low = float(spectrum.weights.sum() ** 2) / spectrum.alignment
    least, largest = float(spectrum.eigenvalues[0]), float(spectrum.eigenvalues[-1])
    value = len(spectrum.weights) / 2 * bound**2
    if least <= 0:  # singular to rounding: nothing bounds it from above
        return Bounded(low, value, np.inf)
    kappa = (least + largest) ** 2 / (4 * least * largest) if tight else largest / least
    return Bounded(low, value, low * kappa)


def squared_error_dynamics(theta: Float64, f: np.ndarray, Y: np.ndarray) -> float:
    """Return G_MSE = Tr[(f - Y)ᵀ Θ (f - Y)], the training dynamics of the squared error; A where f = 0.

    Source: Wang et al. 2022, section 4.3 and appendix A.3.

    Args:
        theta: Θ ``[N, N]``.
        f: outputs ``[N, K]``.
        Y: ``[N, K]``.

    """
    return alignment(theta, np.asarray(f, np.float64) - Y)


def maximum_mean_discrepancy(theta: Float64, m: int) -> float:
    """Return the distance of the means, in the kernel's space, of two distributions: √max(0, MMD²).

    MMD² = a/(m²-m) + b/(n²-n) - 2c/(m(n-1)), which is unbiased for S0 ⊆ S of m and n inputs: a and b are Σ_{i≠j} Θ over
    S0 and over S, and c = Σ_i^m Σ_j^n Θ(x_i, x'_j) - Σ_i^m Θ(x_i, x'_i) leaves out the m pairs of an input and itself.

    Source: Wang et al. 2022, eq. 33, whose last sum has a double index that a constant kernel shows to be a slip.

    Args:
        theta: Θ(S, S) ``[n, n]``, whose first m inputs are S0.
        m: inputs of S0, at least 2.

    Raises:
        LinearizeError: m is less than 2 or more than n.

    """
    n = len(theta)
    if not 2 <= m <= n:
        raise LinearizeError(f"m: expected 2 to {n} inputs of the first set, got {m}")
    own = np.diag(theta)
    a = theta[:m, :m].sum() - own[:m].sum()
    b = theta.sum() - own.sum()
    c = theta[:m].sum() - own[:m].sum()
    squared = a / (m * m - m) + b / (n * n - n) - 2 * c / (m * (n - 1))
    return float(np.sqrt(max(squared, 0.0)))


def _at_most(a: float, b: float) -> bool:
    return bool(a <= b + ROUNDING * max(abs(a), abs(b), 1e-300)) if np.isfinite(b) else True
