"""Sequential querying by a half-way criterion, with only those columns of S that it queries.

Such a criterion reads f_lin alone, and an answer for x* moves f_lin along one column of S,

    S[:, x*] = Θ(U,x*) - Θ(U,X) K⁻¹ Θ(X,x*) - Σ_j v_j v_j(x*)

so n answers take n columns of Θ(U,U) instead of all U: look-ahead at nearly the price of a myopic query.
"""

from collections.abc import Callable
from typing import Self, cast

import numpy as np

from linearize.answers import Answers, resolve
from linearize.criteria import HALFWAY, Criterion, Distance, HalfwayCriterion, Reference
from linearize.errors import LinearizeError
from linearize.regression import REDUNDANT, Factored, Rectangle, fit_rectangle
from linearize.types import Float64


class OnDemand(Answers):
    """The linearised network while answers come in one by one, S never formed; O(U(L + n)) an answer beside its column.

    It equals ``Sequential`` with the same criterion; redundancy and answered points are as there.

    Args:
        factored: the labelled kernel's factor and Φ.
        rectangle: the regression without S; its arrays are copied.
        prior: Θ(x,x) of the pool ``[U]``.
        column: maps a position x* of the pool to Θ(U,x*) ``[U]``.
        ridge: λ ≥ 0 of that fit, absolute, in the kernel's units.
        redundant: the share of Θ(x,x) under which S(x,x) is rounding.

    """

    def __init__(
        self,
        factored: Factored,
        rectangle: Rectangle,
        prior: Float64,
        column: Callable[[int], Float64],
        *,
        ridge: float = 0.0,
        redundant: float = REDUNDANT,
    ) -> None:
        super().__init__(
            rectangle.f_lin,
            rectangle.u.copy(),
            rectangle.redundant.copy(),
            rectangle.jitter,
            ridge,
            redundant * np.asarray(prior, np.float64),
        )
        self._rectangle, self._Phi, self._theta = rectangle, factored.Phi, column
        self._diagonal = rectangle.variance.copy()  # [U]
        self._settle()

    @classmethod
    def fit(
        cls,
        factored: Factored,
        prior: Float64,
        f_U: np.ndarray,
        column: Callable[[int], Float64],
        *,
        ridge: float = 0.0,
        redundant: float = REDUNDANT,
    ) -> "OnDemand":
        """Fit the regression without S; the arguments are those of the class and of ``fit_rectangle``."""
        rectangle = fit_rectangle(factored, prior, f_U, ridge=ridge)
        return cls(factored, rectangle, prior, column, ridge=ridge, redundant=redundant)

    @property
    def state(self) -> Rectangle:
        """What half-way criteria read now; as of ``Sequential``, f = f_lin and a = 0 after the first answer."""
        if not self.answers:
            return self._rectangle._replace(redundant=self._redundant, u=self._u)
        nothing = np.zeros_like(self._f_lin)
        return Rectangle(self._f_lin, nothing, self._diagonal, self._u, self._redundant, self._jitter)

    @property
    def redundant(self) -> np.ndarray:
        """Points that tell nothing new, ``[U]`` bool."""
        return self._redundant

    def pseudo_labels(self) -> np.ndarray:
        """Return the most likely label of every point, ``[U]``."""
        return self.state.f.argmax(axis=1)

    def scores(
        self,
        criterion: str | Criterion | HalfwayCriterion,
        reference: Reference | None = None,
        distance: Distance = "outputs",
    ) -> Float64:
        """Score every point that is left, ``[U]``; -inf for answered ones.

        Raises:
            LinearizeError: unknown criterion, or one that needs S.

        """
        chosen = resolve(criterion)
        if chosen.name not in HALFWAY:
            raise LinearizeError(f"on demand: expected a criterion that needs no S, {', '.join(HALFWAY)}; got "
                                 f"{chosen.name!r}: use Sequential")  # fmt: skip
        scores = cast(HalfwayCriterion, chosen).scores(
            self.state, reference or chosen.default_reference, distance=distance
        )
        return np.where(self.answered, -np.inf, scores)

    def copy(self) -> Self:
        """Return an independent copy: answers to it do not change this one."""
        other = super().copy()
        other._diagonal = self._diagonal.copy()
        return other

    def _column(self, candidate: int) -> Float64:
        s = self._theta(candidate) - self._Phi.T @ self._Phi[:, candidate]  # [U]
        for answer in self.answers:
            if answer.v is not None:
                s -= answer.v * answer.v[candidate]
        s[self.answered] = 0
        return np.asarray(s)

    def _variance(self) -> Float64:
        return self._diagonal.copy()

    def _subtract(self, v: np.ndarray) -> None:
        self._diagonal -= v**2

    def _forget(self, candidate: int) -> None:
        self._diagonal[candidate] = 0
