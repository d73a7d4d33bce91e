"""Answers with the full kernel: an answer for an example is one for each of its rows, and S is updated once for all.

With the C columns s = S[:, x*] and S(x*,x*) + λI = T Tᵀ, the rows' updates make up the block update

    V = s T⁻ᵀ        f_lin ← f_lin + V T⁻¹ (y* - f_lin(x*))        S ← S - V Vᵀ        drop x*
"""

from typing import Self

import numpy as np
from scipy.linalg import blas

from linearize.answers import Chooser, check_answer, resolve
from linearize.criteria import Criterion, Distance, HalfwayCriterion, Reference
from linearize.criteria.full_kernel import score
from linearize.ondemand import OnDemand
from linearize.per_logit import PerLogit, of_examples
from linearize.regression import Factored
from linearize.sequential import Sequential
from linearize.types import Float64


class SequentialRows(Sequential):
    """``Sequential`` on rows whose S changes when told to: one update of rank C reads it once, not C times."""

    _pending: tuple[np.ndarray, ...] = ()  # each [U C]
    _gone: tuple[int, ...] = ()

    def bring_up_to_date(self) -> None:
        """S ← S - V Vᵀ with the rows of all answers since the last time, and drop these rows."""
        if self._pending:
            V = np.array(self._pending).T  # [U C, n] in BLAS's order
            c = self._S.T
            blas.dgemm(-1.0, V, V, beta=1.0, c=c, trans_b=True, overwrite_c=True)
        for row in self._gone:
            super()._forget(row)
        self._pending, self._gone = (), ()

    def _column(self, candidate: int) -> np.ndarray:
        s = super()._column(candidate)
        for v in self._pending:
            s -= v[candidate] * v
        s[self.answered] = 0
        return s

    def _variance(self) -> Float64:
        variance = super()._variance()
        for v in self._pending:
            variance -= v**2
        return variance

    def _subtract(self, v: np.ndarray) -> None:
        self._pending = (*self._pending, v)

    def _forget(self, candidate: int) -> None:
        self._gone = (*self._gone, candidate)


class PerLogitAnswers(Chooser):
    """What ``Answers`` is, with the full kernel.

    Args:
        rows: answers on rows: ``SequentialRows``, or ``OnDemand`` where S is absent.
        classes: C.

    """

    def __init__(self, rows: SequentialRows | OnDemand, classes: int) -> None:
        self.rows, self.classes = rows, classes

    @property
    def state(self) -> PerLogit:
        """What criteria read now; its arrays belong to this object."""
        rows = self.rows.state
        return PerLogit(rows, self.classes, self.rows.ridge + rows.jitter, self.rows.least)

    @property
    def f_lin(self) -> Float64:
        """The linearised network's outputs now, ``[U, C]``; of answered candidates, what was answered."""
        return self.rows.f_lin.reshape(-1, self.classes)

    def is_answered(self) -> np.ndarray:
        """Return which candidates were answered, ``[U]`` bool."""
        return of_examples(self.rows.answered, self.classes)

    @property
    def redundant(self) -> np.ndarray:
        """Candidates that tell nothing new, ``[U]`` bool, answered ones among them."""
        return of_examples(self.rows.redundant, self.classes)

    def given(self) -> list[tuple[int, Float64]]:
        """Return the answers in order: candidate and target ``[C]``."""
        C, answers = self.classes, self.rows.answers
        of_examples = [answers[start : start + C] for start in range(0, len(answers), C)]
        return [(rows[0].candidate // C, np.concatenate([row.y for row in rows])) for rows in of_examples]

    def told(self) -> list[int]:
        """Return the answered candidates that told something, in order."""
        return list(dict.fromkeys(row // self.classes for row in self.rows.told()))

    def scores(
        self,
        criterion: str | Criterion | HalfwayCriterion,
        reference: Reference | None = None,
        distance: Distance = "outputs",
    ) -> Float64:
        """Score every candidate that is left, ``[U]``; -inf for answered ones.

        Raises:
            LinearizeError: unknown criterion, or one that the full kernel does not offer.

        """
        return np.where(self.is_answered(), -np.inf, score(resolve(criterion), self.state, reference, distance))

    def pseudo_labels(self) -> np.ndarray:
        """Return the label that each candidate is imagined to get, ``[U]``."""
        return self.state.f.argmax(axis=1)

    def answer(self, candidate: int, y: np.ndarray) -> None:
        """Take the oracle's answer into account, in O(C (U C)²) with S.

        Args:
            candidate: position of x* in the pool.
            y: its target ``[C]``, one-hot, true or imagined.

        Raises:
            LinearizeError: no such candidate, one that is answered already, or a target of another shape.

        """
        check_answer(candidate, y, self.is_answered(), self.classes)
        for row, value in enumerate(y, start=candidate * self.classes):
            self.rows.answer(row, np.array([value], np.float64))
        self._bring_up_to_date()

    def weights(self, factored: Factored) -> Float64:
        """Return W with f_lin(x) = f(x) + Θ(x, X⁺) vec(W), X⁺ being X and then ``told()``, ``[L + n, C]``."""
        C, told = self.classes, self.told()
        found, L = self.rows.weights(factored)[:, 0], len(factored.F) // C
        W = np.zeros((L + len(told), C))
        W[:L] = found[: L * C].reshape(L, C)
        for row, weight in zip(self.rows.told(), found[L * C :], strict=True):
            W[L + told.index(row // C), row % C] = weight
        return W

    def dump(self) -> dict[str, np.ndarray]:
        """Return the answers as arrays, for ``restore``."""
        return self.rows.dump()

    def restore(self, answers: dict[str, np.ndarray]) -> None:
        """Take over answers, whose effect on the state this object has already."""
        self.rows.restore(answers)

    def copy(self) -> Self:
        """Return an independent copy: answers to it do not change this one."""
        return type(self)(self.rows.copy(), self.classes)

    def _bring_up_to_date(self) -> None:
        if isinstance(self.rows, SequentialRows):
            self.rows.bring_up_to_date()
