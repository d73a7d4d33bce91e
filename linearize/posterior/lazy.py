"""The posterior without S: only those columns of it that are asked for.

A criterion of f_lin alone needs none, and an answer moves f_lin along one column for each row of Θ,

    S(·,x*) = Θ(U,x*) - Φᵀ Φ(·,x*) - Σ_j v_j v_j(x*)

so n answers take n columns of Θ(U,U) instead of all U: look-ahead at nearly the price of a myopic query.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float

from linearize.posterior.base import REDUNDANT, Posterior, Step, redundancy
from linearize.posterior.factor import LabelledFactor

Column = Callable[[int], np.ndarray]


class LazyKernel(NamedTuple):
    """Θ(U,U) that is not formed.

    Args:
        diagonal: Θ(x,x) of the pool ``[U k]``.
        column: maps a row of the pool to Θ(U,row) ``[U k]``.

    """

    diagonal: np.ndarray
    column: Column


@dataclass(frozen=True, eq=False, kw_only=True)
class Lazy(Posterior):
    """A posterior that forms columns of S when they are asked for, in O(U k (L k + n)) beside the kernel's own.

    Args:
        column: maps a row of the pool to Θ(U,row) ``[U k]``.

    """

    dense: ClassVar[bool] = False

    column: Column

    @classmethod
    def init(
        cls,
        labelled: LabelledFactor,
        kernel: LazyKernel,
        f_U: Float[np.ndarray, "U C"],
        *,
        redundant: float = REDUNDANT,
    ) -> "Lazy":
        """Finish training on the labelled set in the linearised network, as ``Dense.init`` does.

        Args:
            labelled: the labelled set's factor.
            kernel: Θ(U,U), its diagonal and a way to its columns.
            f_U: the network's outputs on the pool ``[U, C]``.
            redundant: the share of Θ(x,x) under which S(x,x) is rounding.

        """
        Phi, prior, f = labelled.Phi, np.asarray(kernel.diagonal, np.float64), np.array(f_U, np.float64)
        variance, epsilon = prior - (Phi**2).sum(0), redundant * prior
        rows = redundancy(variance, prior, labelled, epsilon)
        mean = f + (Phi.T @ labelled.z).reshape(f.shape)
        return cls(labelled=labelled, f=f, mean=mean, variance=variance, redundant_rows=rows, epsilon=epsilon,
                   answered=np.zeros(len(f), bool), column=kernel.column)  # fmt: skip

    def rows(self, candidates: np.ndarray | slice) -> Float[np.ndarray, "B k Uk"]:
        """Return S(x',·) of some candidates, one column of Θ for each of their rows."""
        k, at = self.outputs, np.arange(len(self.f))[candidates]
        gone = np.repeat(self.answered, k)
        S = np.array([self._column(row) for x in at for row in range(x * k, x * k + k)])
        S[:, gone] = 0
        S[np.repeat(self.answered[at], k)] = 0
        return S.reshape(len(at), k, len(gone))

    def _column(self, row: int) -> np.ndarray:
        s = self.column(row) - self.labelled.Phi.T @ self.labelled.Phi[:, row]  # [U k]
        for answer in self.answers:
            for step in answer.steps:
                s -= step.v * step.v[row]
        return np.asarray(s)

    def _updated(self, gone: np.ndarray, steps: tuple[Step, ...], donate: bool) -> dict[str, Any]:
        return {}
