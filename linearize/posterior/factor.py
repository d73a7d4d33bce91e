"""The labelled set's kernel, factored once: K = Θ(X,X) + λI = F Fᵀ, and what follows of it for the pool.

An example has k rows of Θ: one with a scalar kernel, one for every class (k = C) with the full one, whose rows stand
where examples do.  Outputs ``[N, C]`` are then ``[N k, C/k]``, and everything below is the same code.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from linearize.errors import LinearizeError
from linearize.linalg import cholesky, condition_number, solve_lower

COPY = 1e-5
"""A candidate whose features are no farther than this from a labelled input's, squared and as a share of Θ(x,x), is a
copy of it; above the rounding of a Θ in float32."""
BLOCK = 512
"""Candidates a block, where an array [L, U] would be a temporary."""


class LabelledFactor(NamedTuple):
    """K's factor with what it makes of the pool and of what training left.

    Args:
        F: lower triangular ``[L k, L k]``.
        Phi: F⁻¹ Θ(X,U) ``[L k, U k]``.
        z: F⁻¹ (Y - f(X)) ``[L k, C/k]``.
        Y: targets ``[L, C]``.
        nearest: min_l Θ(l,l) - 2 Θ(x,l) ``[U k]``; with Θ(x,x), the squared distance to the nearest labelled input.
        ridge: λ as asked for, absolute, in the kernel's units.
        jitter: what the factorisation had to add to it.

    """

    F: np.ndarray
    Phi: np.ndarray
    z: np.ndarray
    Y: np.ndarray
    nearest: np.ndarray
    ridge: float
    jitter: float

    @property
    def lam(self) -> float:
        """The λ that K was factored with, whichever part of it was asked for."""
        return self.ridge + self.jitter

    @property
    def condition_number(self) -> float:
        """κ(K), infinite where it could not be factored without jitter."""
        return float("inf") if self.jitter else condition_number(self.F)

    @property
    def outputs(self) -> int:
        """k, the rows of Θ that an example has."""
        return len(self.F) // len(self.Y)

    @classmethod
    def of(
        cls,
        XX: Float[np.ndarray, "Lk Lk"],
        XU: Float[np.ndarray, "Lk Uk"],
        f_X: Float[np.ndarray, "L C"],
        Y: Float[np.ndarray, "L C"],
        *,
        ridge: float = 0.0,
    ) -> "LabelledFactor":
        """Factor K and solve with it what the pool and the residual need.

        Args:
            XX: Θ(X,X) ``[L k, L k]``.
            XU: Θ(X,U) ``[L k, U k]``.
            f_X: outputs on the labelled set ``[L, C]``.
            Y: targets ``[L, C]``: one-hot, or what ``Loss.target`` makes of one-hot labels.
            ridge: λ ≥ 0, absolute, in the kernel's units.

        Raises:
            LinearizeError: the ridge is negative.
            SingularKernelError: K cannot be factored.

        """
        if ridge < 0:
            raise LinearizeError(f"ridge: expected a number of at least 0, got {ridge}")
        F, jitter = cholesky(XX + ridge * np.eye(len(XX)))
        Y = np.array(Y, np.float64)  # a copy, as of all that is kept
        R = (Y - np.asarray(f_X, np.float64)).reshape(len(XX), -1)
        return cls(F, solve_lower(F, XU), solve_lower(F, R), Y, _distance(np.diag(XX), XU), ridge, jitter)


def absolute_ridge(XX: Float[np.ndarray, "Lk Lk"], ridge: float) -> float:
    """Return λ in the units of Θ from one relative to its mean diagonal.

    Args:
        XX: Θ(X,X) ``[L k, L k]``.
        ridge: λ relative to the mean of its diagonal.

    """
    return ridge * float(np.mean(np.diag(XX)))


def nearest_labelled(labelled: Float[np.ndarray, " Lk"], XU: Float[np.ndarray, "Lk Uk"]) -> Int[np.ndarray, " Uk"]:
    """Return which labelled input has the nearest features, argmin_l Θ(l,l) - 2 Θ(x,l), in blocks of the pool.

    Args:
        labelled: Θ(l,l) ``[L k]``.
        XU: Θ(X,U) ``[L k, U k]``.

    """
    nearest = np.empty(XU.shape[1], np.intp)
    for start in range(0, len(nearest), BLOCK):
        columns = slice(start, start + BLOCK)
        nearest[columns] = (labelled[:, None] - 2 * XU[:, columns]).argmin(0)
    return nearest


def _distance(labelled: np.ndarray, XU: np.ndarray) -> np.ndarray:
    """min_l Θ(l,l) - 2 Θ(x,l) ``[U k]``; the arguments are those of ``nearest_labelled``."""
    nearest = nearest_labelled(labelled, XU)
    return np.asarray(labelled[nearest] - 2 * XU[nearest, np.arange(len(nearest))])
