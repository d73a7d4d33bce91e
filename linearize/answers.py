"""Answers one by one: what the full and the on-demand sequential regression have in common.

After the answer y* for x*, with s = S[:, x*], s* = S(x*,x*) + λ, v = s/√s* and ζ = (y* - f_lin(x*))/√s*:

    f_lin ← f_lin + v ζᵀ        S ← S - v vᵀ        drop x*

v and ζ are the next row of the Cholesky factor of K bordered by x*, and of F⁻¹R: with them, inputs outside the pool can
be predicted as well, without factoring again (``weights``).
"""

from abc import ABC, abstractmethod
from copy import copy
from typing import NamedTuple, Self

import numpy as np
from scipy.linalg import solve_triangular

from linearize.criteria import Criterion, Distance, HalfwayCriterion, Reference, get_criterion
from linearize.errors import LinearizeError
from linearize.regression import Factored
from linearize.types import Float64


class Answer(NamedTuple):
    """One answer of the oracle."""

    candidate: int
    y: Float64  # [C]
    v: np.ndarray | None  # [U], what it did to S; None where it told nothing
    zeta: Float64 | None  # [C]
    root: float  # √s*


class Chooser(ABC):
    """What chooses the next point to query by its scores."""

    @property
    @abstractmethod
    def redundant(self) -> np.ndarray:
        """Points that tell nothing new, ``[U]`` bool, answered ones among them."""

    @property
    @abstractmethod
    def f_lin(self) -> Float64:
        """The linearised network's outputs now, ``[U, C]``; of answered points, what was answered."""

    @abstractmethod
    def is_answered(self) -> np.ndarray:
        """Return which points were answered, ``[U]`` bool."""

    @abstractmethod
    def scores(
        self,
        criterion: str | Criterion | HalfwayCriterion,
        reference: Reference | None = None,
        distance: Distance = "outputs",
    ) -> Float64:
        """Score every point that is left, ``[U]``; -inf for answered ones.

        Raises:
            LinearizeError: unknown criterion, or one that needs what this object has not.

        """

    def best(
        self,
        criterion: str | Criterion | HalfwayCriterion,
        reference: Reference | None = None,
        distance: Distance = "outputs",
    ) -> int:
        """Return the point to query next; arguments and errors are those of ``choose``."""
        return self.choose(criterion, reference, distance)[0]

    def choose(
        self,
        criterion: str | Criterion | HalfwayCriterion,
        reference: Reference | None = None,
        distance: Distance = "outputs",
    ) -> tuple[int, float]:
        """Return the point to query next and its score: the highest among those that would tell something.

        Where all that are left are redundant, the highest score among those.

        Raises:
            LinearizeError: every point is answered, or unknown criterion.

        """
        answered = self.is_answered()
        if answered.all():
            raise LinearizeError(f"sequential: all {len(answered)} points of the pool are answered")
        scores = self.scores(criterion, reference, distance)
        useful = ~(self.redundant | answered)
        best = int(np.where(useful, scores, -np.inf).argmax() if useful.any() else scores.argmax())
        return best, float(scores[best])


class Answers(Chooser):
    """The linearised network while answers come in; sub-classes know the columns of S."""

    def __init__(
        self, f_lin: Float64, u: Float64, redundant: np.ndarray, jitter: float, ridge: float, epsilon: Float64
    ) -> None:
        """Take over arrays that nobody else writes to.

        Args:
            f_lin: ``[U, C]``.
            u: ``[U]``.
            redundant: ``[U]`` bool.
            jitter: absolute.
            ridge: λ without the jitter, absolute.
            epsilon: a point with an S(x,x) up to this is redundant ``[U]``.

        """
        self.ridge = ridge
        self.answered = np.zeros(len(f_lin), bool)  # [U]
        self.answers: list[Answer] = []
        self._epsilon = epsilon
        self._f_lin, self._u, self._redundant, self._jitter = f_lin, u, redundant, jitter

    @property
    def least(self) -> Float64:
        """A point with an S(x,x) up to this tells nothing new, ``[U]``."""
        return self._epsilon + 2 * self._jitter

    @property
    def f_lin(self) -> Float64:
        """The linearised network's outputs now, ``[U, C]``; of answered points, what was answered."""
        return self._f_lin

    def is_answered(self) -> np.ndarray:
        """Return which points were answered, ``[U]`` bool."""
        return self.answered

    @abstractmethod
    def pseudo_labels(self) -> np.ndarray:
        """Return the label that each point is imagined to get, ``[U]``."""

    @abstractmethod
    def _column(self, candidate: int) -> np.ndarray:
        """Return S[:, x*], ``[U]``, an array of the caller's."""

    @abstractmethod
    def _variance(self) -> Float64:
        """Return S(x,x), ``[U]``."""

    @abstractmethod
    def _subtract(self, v: np.ndarray) -> None:
        """S ← S - v vᵀ."""

    @abstractmethod
    def _forget(self, candidate: int) -> None:
        """Set the candidate's row and column of S to 0."""

    def answer(self, candidate: int, y: np.ndarray) -> None:
        """Take the oracle's answer into account.

        An answer for a redundant point only drops it.

        Args:
            candidate: position of x* in the pool.
            y: its target ``[C]``, one-hot, true or imagined.

        Raises:
            LinearizeError: no such point, one that is answered already, or a target of another shape.

        """
        C = self._f_lin.shape[1]
        check_answer(candidate, y, self.answered, C)
        y = np.asarray(y, np.float64)
        v, zeta, root = None, None, 1.0
        if not self._redundant[candidate]:
            s, s_star = self._column(candidate), self._u[candidate]  # [U], scalar
            self._mark_copies(candidate, s)
            r, root = y - self._f_lin[candidate], float(np.sqrt(s_star))
            self._f_lin += (s / s_star)[:, None] * r[None]
            v, zeta = (s / np.sqrt(s_star)).astype(s.dtype), r / root
            self._subtract(v)
        self.answers.append(Answer(candidate, y, v, zeta, root))
        self.answered[candidate] = True
        self._drop(candidate, y)
        self._settle()

    def given(self) -> list[tuple[int, Float64]]:
        """Return the answers in order: candidate and target ``[C]``."""
        return [(answer.candidate, answer.y) for answer in self.answers]

    def told(self) -> list[int]:
        """Return the answered points that told something, in order."""
        return [answer.candidate for answer in self.answers if answer.v is not None]

    def weights(self, factored: Factored) -> Float64:
        """Return W with f_lin(x) = f(x) + Θ(x, X⁺) W for any x, X⁺ being X and then ``told()``, ``[L + n, C]``.

        W = F⁺⁻ᵀ z⁺, F⁺ = [[F, 0], [Φ_Aᵀ, T]], T the answers' v at the answered points, √s* on the diagonal.

        Args:
            factored: the labelled set's.

        """
        told, L = self.told(), len(factored.F)
        F = np.zeros((L + len(told), L + len(told)))
        F[:L, :L], F[L:, :L] = factored.F, factored.Phi[:, told].T
        tells = [answer for answer in self.answers if answer.v is not None]
        for j, answer in enumerate(tells):
            assert answer.v is not None
            F[L + j, L + j] = answer.root
            F[L + j + 1 :, L + j] = answer.v[told[j + 1 :]]
        z = np.vstack([factored.z, *(answer.zeta[None] for answer in tells if answer.zeta is not None)])
        return np.asarray(solve_triangular(F, z, lower=True, trans="T", check_finite=False))

    def dump(self) -> dict[str, np.ndarray]:
        """Return the answers as arrays, for ``restore``."""
        tells = [answer for answer in self.answers if answer.v is not None]
        U, C, n = *self._f_lin.shape, len(tells)
        v = np.array([answer.v for answer in tells]).reshape(n, U)
        return {
            "answers_candidates": np.array([answer.candidate for answer in self.answers], int),
            "answers_y": np.array([answer.y for answer in self.answers]).reshape(len(self.answers), C),
            "answers_tells": np.array([answer.v is not None for answer in self.answers], bool),
            "answers_roots": np.array([answer.root for answer in self.answers]),
            "answers_v": v,
            "answers_zeta": np.array([answer.zeta for answer in tells]).reshape(n, C),
        }

    def restore(self, answers: dict[str, np.ndarray]) -> None:
        """Take over answers, whose effect on the state this object has already; names are those of ``dump``."""
        told = iter(zip(answers["v"], answers["zeta"], strict=True))
        rows = zip(answers["candidates"], answers["y"], answers["tells"], answers["roots"], strict=True)
        for candidate, y, tells, root in rows:
            v, zeta = next(told) if tells else (None, None)
            self.answers.append(Answer(int(candidate), y, v, zeta, float(root)))
            self.answered[candidate] = True

    def copy(self) -> Self:
        """Return an independent copy: answers to it do not change this one."""
        other = copy(self)
        other.answers = list(self.answers)
        for name in ("answered", "_f_lin", "_u", "_redundant"):
            setattr(other, name, getattr(self, name).copy())
        return other

    def _mark_copies(self, candidate: int, s: np.ndarray) -> None:
        """Mark as redundant what has the same features as the point that is being answered."""
        variance = self._variance()
        distance = variance - 2 * s.astype(np.float64) + variance[candidate]
        self._redundant |= distance <= self._epsilon

    def _drop(self, candidate: int, y: np.ndarray) -> None:
        """Take an answered point out of every sum over the pool."""
        self._forget(candidate)
        self._f_lin[candidate] = y

    def _settle(self) -> None:
        """Bring u and redundancy up to date with S."""
        variance = self._variance()  # [U]
        self._redundant = self._redundant | self.answered | (variance <= self.least)
        self._u = np.where(self._redundant, 1.0, variance + self.ridge + self._jitter)


def resolve(criterion: str | Criterion | HalfwayCriterion) -> Criterion | HalfwayCriterion:
    """Return a criterion given by name or as it is."""
    return get_criterion(criterion) if isinstance(criterion, str) else criterion


def check_answer(candidate: int, y: np.ndarray, answered: np.ndarray, C: int) -> None:
    """Check that an answer is one.

    Raises:
        LinearizeError: no such point, one that is answered already, or a target of another shape.

    """
    U = len(answered)
    if not 0 <= candidate < U or answered[candidate] or np.shape(y) != (C,):
        raise LinearizeError(
            f"answer: expected a point of 0 to {U - 1} that is not answered yet and a target [{C}]; got "
            f"{candidate} and {np.shape(y)}"
        )
