"""The regression with the full kernel: every logit of an example is a row of Θ of its own.

A row (x, c) stands where an example does with a scalar kernel, and its output is f_c(x): the regression on rows is the
same code.  What it tells of examples is here.  With blocks S(x,x') ``[C, C]`` and r(x') = y' - f_lin(x'),

    f_lin⁺(x) = f_lin(x) + S(x,x') G(x') r(x'),    G(x') = (S(x',x') + λI)⁻¹
"""

from typing import NamedTuple

import numpy as np

from linearize.regression import REDUNDANT, Rectangle, Regression
from linearize.types import Float64


def as_rows(outputs: np.ndarray) -> np.ndarray:
    """Turn one row an example ``[N, C]`` into one row a logit ``[N C, 1]``."""
    return np.reshape(outputs, (-1, 1))


def of_examples(of_rows: np.ndarray, classes: int) -> np.ndarray:
    """Return which examples have all of their rows marked, ``[U]`` bool, for marks ``[U C]``."""
    return np.asarray(of_rows.reshape(-1, classes).all(1))


class PerLogit(NamedTuple):
    """A state like ``Regression``, or ``Rectangle`` where S is absent, whose S holds a block for every pair."""

    rows: Regression | Rectangle
    classes: int
    lam: float  # the λ that K was factored with
    least: Float64  # [U C], a row whose S(x,x) is no larger tells nothing new

    @classmethod
    def of(cls, rows: Regression | Rectangle, classes: int, prior: Float64, ridge: float) -> "PerLogit":
        """Read the regression on rows as one on examples.

        Args:
            rows: the regression on rows.
            classes: C.
            prior: the diagonal of Θ(U,U) ``[U C]``.
            ridge: λ ≥ 0 of that fit, absolute.

        """
        return cls(rows, classes, ridge + rows.jitter, REDUNDANT * prior + 2 * rows.jitter)

    @property
    def f(self) -> Float64:
        """The network's outputs on the pool, ``[U, C]``."""
        return self.rows.f.reshape(-1, self.classes)

    @property
    def a(self) -> Float64:
        """What finishing training on X would still add, ``[U, C]``."""
        return self.rows.a.reshape(-1, self.classes)

    @property
    def f_lin(self) -> Float64:
        """The linearised network's outputs on the pool, ``[U, C]``."""
        return self.f + self.a

    @property
    def redundant(self) -> np.ndarray:
        """Candidates none of whose rows tells anything new, ``[U]`` bool: S(x,x) is then zero as a whole."""
        return of_examples(self.rows.redundant, self.classes)

    @property
    def u(self) -> Float64:
        """New information in each candidate, the mean of S(x,x) + λ over classes, ``[U]``; 1 where redundant."""
        variance = self._S.diagonal().reshape(-1, self.classes).mean(1)
        return np.where(self.redundant, 1.0, variance + self.lam)

    @property
    def jitter(self) -> float:
        """What the factorisation had to add to λ, absolute."""
        return self.rows.jitter

    @property
    def _S(self) -> Float64:
        """Posterior covariance of all rows, ``[U C, U C]``."""
        assert isinstance(self.rows, Regression)
        return self.rows.S

    def covariance(self, candidates: np.ndarray) -> Float64:
        """Return S(x', ·) of some candidates, ``[B, C, U C]``."""
        C = self.classes
        return self._S.reshape(-1, C, len(self._S))[candidates]

    def telling(self, candidates: np.ndarray) -> np.ndarray:
        """Return which rows of some candidates tell something new, ``[B, C]`` bool.

        Rows are taken in order, as answers take them: one that those before it determine is left out.
        """
        C = self.classes
        at, left = self._at(candidates), self._own(candidates).copy()
        tells = np.zeros(at.shape, bool)
        for c in range(C):
            tells[:, c] = ~self.rows.redundant[at[:, c]] & (left[:, c, c] > self.least[at[:, c]])
            v = left[:, c] / np.sqrt(np.where(tells[:, c], left[:, c, c] + self.lam, np.inf))[:, None]  # [B, C]
            left -= v[:, :, None] * v[:, None]
        return tells

    def gain(self, candidates: np.ndarray) -> Float64:
        """Return G(x') of some candidates, ``[B, C, C]``; zero in rows that tell nothing new, see ``telling``."""
        tells, eye = self.telling(candidates), np.eye(self.classes)[None]
        both = tells[:, :, None] & tells[:, None]
        return np.where(both, np.linalg.inv(np.where(both, self._own(candidates) + self.lam * eye, eye)), 0.0)

    def _at(self, candidates: np.ndarray) -> np.ndarray:
        """The rows of some candidates, ``[B, C]``."""
        return np.asarray(np.asarray(candidates)[:, None] * self.classes + np.arange(self.classes))

    def _own(self, candidates: np.ndarray) -> Float64:
        """S(x',x') of some candidates, ``[B, C, C]``."""
        at = self._at(candidates)
        return np.asarray(self._S[at[:, :, None], at[:, None, :]])

    def look_ahead(self, candidate: int, y: np.ndarray) -> Float64:
        """Predict f_lin⁺ on the pool ``[U, C]`` after ``candidate`` is labelled ``y``, as ``lookahead.look_ahead``."""
        one = np.array([candidate])
        d = self.gain(one)[0] @ (y - self.f_lin[candidate])  # [C]
        return self.f_lin + (d @ self.covariance(one)[0]).reshape(-1, self.classes)
