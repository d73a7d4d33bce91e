"""The posterior with all of S in memory: any candidate is scored at once, and an answer costs O(k (U k)²)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from numpy.typing import DTypeLike
from scipy.linalg import blas

from linearize.errors import LinearizeError
from linearize.linalg import less_gram
from linearize.posterior.base import REDUNDANT, Posterior, Step, Targets, redundancy
from linearize.posterior.factor import LabelledFactor
from linearize.types import Kernel

ALIGNMENT = 64
"""Bytes; jax reads a NumPy array that starts at a multiple of this without copying it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Dense(Posterior):
    """A posterior that holds S.

    Args:
        S: the covariance ``[U k, U k]``, symmetric; None once it was donated.

    """

    dense: ClassVar[bool] = True

    S: Float[np.ndarray, "Uk Uk"] | None

    @classmethod
    def init(cls, kernel: Kernel, targets: Targets, *, ridge: float = 0.0) -> "Dense":
        """Finish training on the labelled set in the linearised network.

        f_lin(x) = f(x) + Θ(x,X) K⁻¹ (Y - f(X)).  Source: Mohamadi, Bae & Sutherland 2022, eqs. 8 and 11.

        Args:
            kernel: Θ's blocks over labelled ∪ pool.
            targets: outputs and targets.
            ridge: λ ≥ 0, absolute, in the kernel's units.

        Raises:
            LinearizeError: the shapes do not fit together or the ridge is negative.
            SingularKernelError: K cannot be factored.

        """
        (XX, XU, UU), (f_X, f_U, Y) = kernel, targets
        (L, C), U = f_X.shape, len(f_U)
        k = len(XX) // max(L, 1)
        shapes = XX.shape, XU.shape, UU.shape
        if k not in (1, C) or shapes != ((L * k, L * k), (L * k, U * k), (U * k, U * k)) or Y.shape != f_X.shape:
            raise LinearizeError(
                f"posterior: expected Θ(X,X), Θ(X,U) and Θ(U,U) with 1 or C rows an example, f(X) and Y [L, C], f(U) "
                f"[U, C]; got {XX.shape}, {XU.shape}, {UU.shape}, {f_X.shape}, {Y.shape}, {f_U.shape}"
            )
        return cls.of_factor(LabelledFactor.of(XX, XU, f_X, Y, ridge=ridge), UU, f_U)

    @classmethod
    def of_factor(
        cls,
        labelled: LabelledFactor,
        UU: Float[np.ndarray, "Uk Uk"],
        f_U: Float[np.ndarray, "U C"],
        *,
        dtype: DTypeLike = np.float64,
    ) -> "Dense":
        """Complete a labelled set that is factored already.

        Args:
            labelled: its factor.
            UU: Θ(U,U) ``[U k, U k]``.
            f_U: the network's outputs on the pool ``[U, C]``.
            dtype: what S is kept in, computed in float64 whichever; of a Θ in float32, S in float32 loses nothing,
                since |S| ≤ Θ and its last bit is smaller than the rounding of Θ that S inherits.

        """
        Phi, prior = labelled.Phi, np.diag(UU)
        S = _aligned(len(UU), dtype)
        less_gram(UU, Phi, out=S)
        variance = prior - np.einsum("lu,lu->u", Phi, Phi)
        epsilon, f = REDUNDANT * prior, np.array(f_U, np.float64)
        redundant = redundancy(variance, prior, labelled, epsilon)
        mean = f + (Phi.T @ labelled.z).reshape(f.shape)
        return cls(labelled=labelled, f=f, mean=mean, variance=variance, redundant_rows=redundant, epsilon=epsilon,
                   answered=np.zeros(len(f), bool), S=S)  # fmt: skip

    def rows(self, candidates: np.ndarray | slice) -> Float[np.ndarray, "B k Uk"]:
        """Return S(x',·) of some candidates, a view for a slice."""
        S = self._held()
        return S.reshape(len(self.f), self.outputs, len(S))[candidates]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all that is needed to go on, S among it."""
        self._held()
        return super().arrays()

    def _held(self) -> np.ndarray:
        if self.S is None:
            raise LinearizeError("posterior: its memory was donated to the one that took in the next answer: use that")
        return self.S

    def _column(self, row: int) -> np.ndarray:
        return self._held()[row].copy()

    def _updated(self, gone: np.ndarray, steps: tuple[Step, ...], donate: bool) -> dict[str, Any]:
        S = self._held()
        if donate:
            object.__setattr__(self, "S", None)
            S = np.require(S, requirements=["C", "W"])  # of any other, BLAS would update a copy that nobody sees
        else:
            S, given = _aligned(len(S), S.dtype), S
            S[:] = given
        if len(steps) == 1:
            v = steps[0].v
            ger = blas.sger if S.dtype == np.float32 else blas.dger
            ger(-1.0, v, v, a=S.T, overwrite_x=False, overwrite_y=False, overwrite_a=True)  # Sᵀ is in BLAS's order
        elif steps:
            V = np.array([step.v for step in steps]).T  # [U k, n] in BLAS's order; S is read once for all
            gemm = blas.sgemm if S.dtype == np.float32 else blas.dgemm
            gemm(-1.0, V, V, beta=1.0, c=S.T, trans_b=True, overwrite_c=True)
        dropped = np.flatnonzero(gone & ~np.repeat(self.answered, self.outputs))
        S[dropped] = 0
        S[:, dropped] = 0
        return {"S": S}


def _aligned(n: int, dtype: DTypeLike = np.float64) -> np.ndarray:
    """An array ``[n, n]`` where jax can read it in place."""
    size = n * n * np.dtype(dtype).itemsize
    room = np.empty(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size].view(dtype).reshape(n, n)
