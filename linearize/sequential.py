"""Sequential querying: each answer is taken into account before the next query, with no training between.

After the answer y* for x*, with s = S[:, x*] and s* = S(x*,x*) + λ:

    f_lin ← f_lin + (s/s*) (y* - f_lin(x*))ᵀ        S ← S - s sᵀ/s*        drop row and column x*

This is a step of a right-looking Cholesky factorisation and as stable; it costs O(U² + UC) and equals fitting again.
"""

from typing import NamedTuple, Self

import numpy as np
from scipy.linalg import blas

from linearize.answers import Answers, resolve
from linearize.criteria import Criterion, Distance, HalfwayCriterion, Reference
from linearize.errors import LinearizeError
from linearize.lookahead import pseudo_labels
from linearize.regression import REDUNDANT, Regression, fit
from linearize.types import Float64, Kernel

ALIGNMENT = 64
"""Bytes; jax reads a NumPy array that starts at a multiple of this without copying it."""

REDUNDANT_FLOAT32 = 1e-5
"""As ``REDUNDANT``, above the rounding that a thousand updates leave on a float32 S."""


class Drift(NamedTuple):
    """How far the updates had drifted from fitting again after so many answers."""

    answers: int
    S: float  # max |ΔS(x,x')| over what is left, relative to the mean of Θ(x,x)
    u: float  # max |Δu(x)| / u(x) over the points that still tell something
    f_lin: float  # max |Δf_lin|


class _Data(NamedTuple):
    """What fitting again takes."""

    kernel: Kernel
    f_X: np.ndarray  # [L, C]
    f_U: np.ndarray  # [U, C]
    Y: np.ndarray  # [L, C]


class Sequential(Answers):
    """The linearised network while answers come in one by one.

    ``state`` is a ``Regression`` at every moment, so every criterion scores it.  Before the first answer it is the
    regression given.  From then on the network is the linearised one: f = f_lin and a = 0, so hypothetical labels and
    their probabilities come from the updated f_lin, change is measured from it, and the two references agree.
    Answered points stay in the arrays, so that shapes do not change, but add nothing to any sum over the pool: S = 0,
    f_lin = their class.  (The entropy of a softmax there is a constant, the same for every candidate.)

    A candidate is redundant once S(x,x) ≤ ε·Θ(x,x) + 2·jitter, as in ``fit``, and, whatever the ridge, once it has the
    same features as an answered point, S(x,x) - 2 S(x,x*) + S(x*,x*) ≤ ε·Θ(x,x) before the update: the oracle would
    only repeat itself.  It stays so.

    Args:
        regression: the state on the labelled set; its arrays are copied, never written to.
        prior: Θ(x,x) of the pool ``[U]``.
        ridge: λ ≥ 0 of that fit, absolute, in the kernel's units.
        dtype: of S; float32 halves the memory and the time of an answer.  After 1000 answers at U = 5000 it had drifted
            by 3e-6, relative in u, where float64 had by 5e-15.

    Raises:
        LinearizeError: the shapes do not fit together or the ridge is negative.

    """

    def __init__(
        self,
        regression: Regression,
        prior: np.ndarray,
        *,
        ridge: float = 0.0,
        dtype: type[np.float32] | type[np.float64] = np.float64,
    ) -> None:
        U = len(regression.f)
        if prior.shape != (U,) or regression.S.shape != (U, U) or ridge < 0:
            raise LinearizeError(
                f"sequential: expected S [{U},{U}], Θ(x,x) [{U}] and a ridge of at least 0; got "
                f"{regression.S.shape}, {prior.shape} and {ridge}"
            )
        self._prior = np.asarray(prior, np.float64)  # [U]
        super().__init__(
            regression.f_lin,  # a new array
            regression.u.copy(),
            regression.redundant.copy(),
            regression.jitter,
            ridge,
            (REDUNDANT if dtype == np.float64 else REDUNDANT_FLOAT32) * self._prior,
        )
        self.drift: list[Drift] = []
        self._data: _Data | None = None
        self._refresh = 0
        self._S = _aligned(regression.S, dtype)  # [U, U], ours to write to
        self._given = regression._replace(S=self._S)

    @classmethod
    def fit(
        cls,
        kernel: Kernel,
        f_X: np.ndarray,
        f_U: np.ndarray,
        Y: np.ndarray,
        *,
        ridge: float = 0.0,
        refresh: int = 0,
        dtype: type[np.float32] | type[np.float64] = np.float64,
    ) -> "Sequential":
        """Fit the regression and keep what fitting it again takes.

        Args:
            kernel: Θ's blocks over labelled ∪ pool.
            f_X: outputs on the labelled set ``[L, C]``.
            f_U: outputs on the pool ``[U, C]``.
            Y: one-hot targets ``[L, C]``.
            ridge: λ ≥ 0, absolute, in the kernel's units.
            refresh: fit again after every so many answers, and add to ``drift`` what that changed; 0 for never.
            dtype: of S.

        Raises:
            LinearizeError: as ``regression.fit``, or a negative refresh.
            SingularKernelError: K cannot be factored.

        """
        if refresh < 0:
            raise LinearizeError(f"refresh: expected a number of answers, or 0 for never; got {refresh}")
        regression = fit(kernel, f_X, f_U, Y, ridge=ridge)
        sequential = cls(regression, np.diag(kernel.UU), ridge=ridge, dtype=dtype)
        sequential._data, sequential._refresh = _Data(kernel, f_X, f_U, Y), refresh
        return sequential

    @property
    def state(self) -> Regression:
        """What criteria read now.  Its arrays belong to this object: the next answer changes them; copy to keep."""
        if not self.answers:
            return self._given
        nothing = np.zeros_like(self._f_lin)
        return Regression(self._f_lin, nothing, self._S, self._u, self._redundant, self._jitter)

    @property
    def redundant(self) -> np.ndarray:
        """Points that tell nothing new, ``[U]`` bool."""
        return self._redundant

    def pseudo_labels(self) -> np.ndarray:
        """Return the most likely label of every point, ``[U]``."""
        return pseudo_labels(self.state)

    def scores(
        self,
        criterion: str | Criterion | HalfwayCriterion,
        reference: Reference | None = None,
        distance: Distance = "outputs",
    ) -> Float64:
        """Score every point that is left, ``[U]``; -inf for answered ones.

        Raises:
            LinearizeError: unknown criterion.

        """
        chosen = resolve(criterion)
        scores = chosen.scores(self.state, reference or chosen.default_reference, distance=distance)
        return np.where(self.answered, -np.inf, scores)

    def answer(self, candidate: int, y: np.ndarray) -> None:
        """Take the oracle's answer into account, in O(U² + UC).

        An answer for a redundant point only drops it.

        Args:
            candidate: position of x* in the pool.
            y: its target ``[C]``, one-hot, true or imagined.

        Raises:
            LinearizeError: no such point, one that is answered already, or a target of another shape.
            SingularKernelError: a refresh was due and K cannot be factored.

        """
        super().answer(candidate, y)
        if self._data is not None and self._refresh and len(self.answers) % self._refresh == 0:
            self._restart(self.refit())

    def copy(self) -> Self:
        """Return an independent copy: answers to it do not change this one."""
        other = super().copy()
        other.drift = list(self.drift)
        other._S = _aligned(self._S, self._S.dtype.type)
        other._given = self._given._replace(S=other._S)
        return other

    def refit(self) -> Regression:
        """Fit again from the kernel, on the labelled set and all answers that told something.

        Returns:
            The regression over the whole pool, answered points included; f is the network's.

        Raises:
            LinearizeError: the kernel is not known: this object was not made by ``Sequential.fit``.
            SingularKernelError: K cannot be factored.

        """
        if self._data is None:
            raise LinearizeError("refit: expected an object made by Sequential.fit, which keeps the kernel")
        (XX, XU, UU), f_X, f_U, Y = self._data
        told = self.told()
        targets = np.array([answer.y for answer in self.answers if answer.v is not None]).reshape(len(told), Y.shape[1])
        kernel = Kernel(
            np.block([[XX, XU[:, told]], [XU[:, told].T, UU[np.ix_(told, told)]]]), np.vstack([XU, UU[told]]), UU
        )
        return fit(kernel, np.vstack([f_X, f_U[told]]), f_U, np.vstack([Y, targets]), ridge=self.ridge)

    def _column(self, candidate: int) -> np.ndarray:
        return self._S[candidate].copy()

    def _variance(self) -> Float64:
        return self._S.diagonal().astype(np.float64)

    def _subtract(self, v: np.ndarray) -> None:
        _subtract_outer(self._S, v)

    def _forget(self, candidate: int) -> None:
        self._S[candidate] = 0
        self._S[:, candidate] = 0

    def _restart(self, regression: Regression) -> None:
        """Go on from a fit on all answers so far, and report how far the updates were from it."""
        left = ~self.answered
        alive = left & ~self._redundant & ~regression.redundant
        S = max(
            (np.abs(self._S[x] - regression.S[x])[left].max() for x in np.flatnonzero(left)), default=0.0
        )  # row by row
        self.drift.append(
            Drift(
                len(self.answers),
                float(S / self._prior.mean()),
                float(np.max(np.abs(self._u / regression.u - 1)[alive], initial=0.0)),
                float(np.max(np.abs(self._f_lin - regression.f_lin)[left], initial=0.0)),
            )
        )
        self._S[:] = regression.S
        self._f_lin[:] = regression.f_lin
        self._jitter = regression.jitter
        self._redundant = self._redundant | regression.redundant
        for answer in self.answers:
            self._drop(answer.candidate, answer.y)
        self._settle()


def _aligned(S: np.ndarray, dtype: type[np.float32] | type[np.float64]) -> np.ndarray:
    """Copy a matrix to where jax can read it in place."""
    room = np.empty(S.size * np.dtype(dtype).itemsize + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    copy = room[start : start + S.size * np.dtype(dtype).itemsize].view(dtype).reshape(S.shape)
    copy[:] = S
    return copy


def _subtract_outer(S: np.ndarray, v: np.ndarray) -> None:
    """S ← S - v vᵀ in place, on all cores."""
    ger = blas.sger if S.dtype == np.float32 else blas.dger
    ger(-1.0, v, v, a=S.T, overwrite_x=False, overwrite_y=False, overwrite_a=True)  # Sᵀ is in BLAS's order
