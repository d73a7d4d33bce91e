"""The posterior's contract, and what an answer does to it, whatever form its covariance takes.

With K = Θ(X,X) + λI, R = Y - f(X) and rows of Θ as ``factor`` has them:

    f_lin(x) = f(x) + Θ(x,X) K⁻¹ R        S(x,x') = Θ(x,x') - Θ(x,X) K⁻¹ Θ(X,x')

A label y of x' moves both by an update of rank k, eq. 12 of Mohamadi, Bae & Sutherland 2022 (which prints
v = Θ(X,X) Θ(X,x') where Θ(X,X)⁻¹ Θ(X,x') is meant); G(x') = (S(x',x') + λI)⁻¹ is 1/u(x') with a scalar kernel:

    f_lin⁺(x) = f_lin(x) + S(x,x') G(x') (y - f_lin(x'))        S⁺ = S - S(·,x') G(x') S(x',·)

Row by row, with s = S(·,x'), s* = S(x',x') + λ, v = s/√s* and ζ = (y - f_lin(x'))/√s*, it is f_lin + v ζᵀ and
S - v vᵀ: a step of a right-looking Cholesky factorisation, as stable.  v and ζ are the next row of the factor of K
bordered by x' and of F⁻¹R, so inputs outside the pool are predicted without factoring again (``weights``).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import cho_solve, solve_triangular

from common.arrays import read_only
from linearize.errors import LinearizeError
from linearize.posterior.factor import COPY, LabelledFactor

REDUNDANT, REDUNDANT_FLOAT32 = 1e-6, 1e-5
"""A row whose S(x,x) has fallen under this share of Θ(x,x) tells nothing that is not labelled already; the latter where
Θ(x,x) and the columns of Θ come from different passes in float32."""


P = TypeVar("P", bound="Posterior")  # not Self: the checker of shapes does not know it in methods


class Targets(NamedTuple):
    """What the network says, and what it ought to say.

    Args:
        f_X: outputs on the labelled set ``[L, C]``.
        f_U: outputs on the pool ``[U, C]``.
        Y: targets ``[L, C]``: one-hot, or what ``Loss.target`` makes of one-hot labels.

    """

    f_X: np.ndarray
    f_U: np.ndarray
    Y: np.ndarray


class Block(NamedTuple):
    """B candidates x' with their rows of the covariance.

    Args:
        candidates: positions in the pool ``[B]``.
        S: S(x',·) ``[B, k, U k]``.
        G: (S(x',x') + λI)⁻¹ ``[B, k, k]``; zero in rows that tell nothing new.

    """

    candidates: np.ndarray
    S: np.ndarray
    G: np.ndarray


class Step(NamedTuple):
    """What an answer did to one row of its example: the next row of K's factor and of F⁻¹R."""

    row: int
    v: np.ndarray  # [U k]
    zeta: np.ndarray  # [C/k]
    root: float  # √s*


class Answer(NamedTuple):
    """A label that was taken in; without steps where it told nothing."""

    candidate: int
    y: np.ndarray  # [C]
    steps: tuple[Step, ...]


class LeaveOneOut(NamedTuple):
    """What is predicted of every known example by all others.

    Args:
        residual: target less prediction ``[L + n, C]``; NaN in rows that tell nothing new.
        variance: of the prediction, λ included, mean over an example's rows ``[L + n]``.

    """

    residual: np.ndarray
    variance: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class Posterior(ABC):
    """The linearised network given the labelled set and some answers; it never changes.

    Before the first answer ``f`` is the network's outputs.  From then on the network is the linearised one, f = f_lin:
    hypothetical labels and their probabilities come from the updated f_lin, and change is measured from it.  Answered
    candidates stay in the arrays, so that shapes do not change, but add nothing to any sum over the pool: S = 0 and
    f_lin is their answer.  A candidate is redundant where nothing is left of its variance or, whatever the ridge, where
    it has the features of a labelled or answered one: the oracle would only repeat itself.

    Args:
        labelled: the labelled set's factor.
        f: outputs ``[U, C]``.
        mean: f_lin ``[U, C]``.
        variance: S(x,x) of every row ``[U k]``.
        redundant_rows: which rows tell nothing new ``[U k]``.
        epsilon: a row whose variance is no larger, two jitters aside, is rounding ``[U k]``.
        answered: those that were, or were left out ``[U]``.
        answers: in order.

    """

    dense: ClassVar[bool]
    """Whether any rows of S are at hand at once."""

    labelled: LabelledFactor
    f: Float[np.ndarray, "U C"]
    mean: Float[np.ndarray, "U C"]
    variance: Float[np.ndarray, " Uk"]
    redundant_rows: Bool[np.ndarray, " Uk"]
    epsilon: Float[np.ndarray, " Uk"]
    answered: Bool[np.ndarray, " U"]
    answers: tuple[Answer, ...] = ()

    def __post_init__(self) -> None:
        """Let nobody who looks at it change it."""
        for name in ("f", "mean", "variance", "redundant_rows", "epsilon", "answered"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    @property
    def outputs(self) -> int:
        """k, the rows of Θ that an example has: 1, or C with the full kernel."""
        return len(self.variance) // len(self.f)

    @property
    def a(self) -> Float[np.ndarray, "U C"]:
        """What finishing training on X would still add to the outputs, f_lin - f ``[U, C]``."""
        return self.mean - self.f

    @property
    def redundant(self) -> Bool[np.ndarray, " U"]:
        """Candidates that tell nothing new, ``[U]``; answered ones among them."""
        return np.asarray(self.redundant_rows.reshape(len(self.f), -1).all(1))

    @property
    def u(self) -> Float[np.ndarray, " U"]:
        """New information in each candidate, S(x,x) + λ, mean over its rows ``[U]``; 1 where redundant."""
        variance = self.variance.reshape(len(self.f), -1).mean(1)
        return np.where(self.redundant, 1.0, variance + self.labelled.lam)

    @abstractmethod
    def rows(self, candidates: np.ndarray | slice) -> Float[np.ndarray, "B k Uk"]:
        """Return S(x',·) of some candidates ``[B, k, U k]``; a view where that is possible, not to be written to."""

    @abstractmethod
    def _column(self, row: int) -> np.ndarray:
        """Return S(·,row) ``[U k]``, an array of the caller's."""

    @abstractmethod
    def _updated(self, gone: np.ndarray, steps: tuple[Step, ...], donate: bool) -> dict[str, Any]:
        """Return the fields that hold the covariance after an answer whose rows ``gone`` are dropped."""

    def block(self, candidates: np.ndarray | slice) -> Block:
        """Return the rows of some candidates with their gains."""
        at = np.arange(len(self.f))[candidates]
        S = self.rows(candidates)
        return Block(at, S, self._gain(at, S))

    def condition(self: P, candidate: int, y: np.ndarray, *, donate: bool = False) -> P:
        """Return the posterior that has seen one more label, in O(k (U k)²); equal to fitting again with it.

        A label of a redundant candidate only drops it.

        Args:
            candidate: position of x* in the pool.
            y: its target ``[C]``, true or imagined.
            donate: let the new posterior write to this one's memory: using this one again is then an error.

        Raises:
            LinearizeError: no such candidate, one that is answered already, or a target of another shape.

        """
        (U, C), k = self.f.shape, self.outputs
        if not 0 <= candidate < U or self.answered[candidate] or np.shape(y) != (C,):
            raise LinearizeError(
                f"answer: expected a point of 0 to {U - 1} that is not answered yet and a target [{C}]; got "
                f"{candidate} and {np.shape(y)}"
            )
        y = np.array(y, np.float64)  # the caller's may be a buffer
        mean, variance, redundant = self.mean.reshape(U * k, -1).copy(), self.variance, self.redundant_rows.copy()
        least, gone = self.epsilon + 2 * self.labelled.jitter, np.repeat(self.answered, k)
        steps: list[Step] = []
        for row, target in enumerate(y.reshape(k, -1), start=candidate * k):
            if not redundant[row]:
                s = self._column(row)
                for step in steps:
                    s -= step.v[row] * step.v
                s[gone] = 0
                # What has the features of an answered row would only be told again.
                redundant |= variance - 2 * s.astype(np.float64) + variance[row] <= self.epsilon
                s_star, r = variance[row] + self.labelled.lam, target - mean[row]
                root = float(np.sqrt(s_star))
                mean += (s / s_star)[:, None] * r[None]
                steps.append(Step(row, (s / root).astype(s.dtype), r / root, root))
                variance = variance - steps[-1].v.astype(np.float64) ** 2
            gone[row] = redundant[row] = True
            mean[row] = target
            redundant |= variance <= least
        answered = self.answered.copy()
        answered[candidate] = True
        variance = np.where(gone, 0.0, variance)
        changed = self._updated(gone, tuple(steps), donate)
        mean = mean.reshape(U, C)
        answers = (*self.answers, Answer(candidate, y, tuple(steps)))
        redundant |= variance <= least
        return replace(self, f=mean, mean=mean, variance=variance, redundant_rows=redundant, answered=answered,
                       answers=answers, **changed)  # fmt: skip

    def without(self: P, candidate: int, *, donate: bool = False) -> P:
        """Return the posterior with a candidate dropped from the pool, as an answered one is, but that tells nothing.

        Args:
            candidate: its position.
            donate: as of ``condition``.

        """
        answered = self.answered.copy()
        answered[candidate] = True
        gone = np.repeat(answered, self.outputs)
        changed = self._updated(gone, (), donate)
        return replace(self, variance=np.where(gone, 0.0, self.variance), redundant_rows=self.redundant_rows | gone,
                       answered=answered, **changed)  # fmt: skip

    def look_ahead(self, candidate: int, y: Float[np.ndarray, " C"]) -> Float[np.ndarray, "U C"]:
        """Return f_lin⁺ on the pool after ``candidate`` is labelled ``y`` and the network retrained.

        f_lin⁺(x) = f_lin(x) + S(x,x') G(x') (y - f_lin(x')).  Source: Mohamadi, Bae & Sutherland 2022, eq. 12.

        Args:
            candidate: position of x' in the pool.
            y: its hypothetical target ``[C]``.

        Returns:
            ``[U, C]``; unchanged where the candidate is redundant.

        """
        block = self.block(np.array([candidate]))
        r = (y - self.mean[candidate]).reshape(self.outputs, -1)
        return self.mean + (block.S[0].T @ (block.G[0] @ r)).reshape(self.mean.shape)

    def told(self) -> list[int]:
        """Return the answered candidates that told something, in order."""
        return [answer.candidate for answer in self.answers if answer.steps]

    def weights(self) -> Float[np.ndarray, "known C"]:
        """Return W with f_lin(x) = f(x) + Θ(x, X⁺) vec(W) for any x, X⁺ being X and then ``told()``, ``[L + n, C]``."""
        F, z = self._bordered()
        W = np.zeros(((len(self.labelled.Y) + len(self.told())) * self.outputs, z.shape[1]))
        W[self._known()] = solve_triangular(F, z, lower=True, trans="T", check_finite=False)
        return W.reshape(-1, self.f.shape[1])

    def leave_one_out(self, of: Literal["f_lin", "targets"] = "f_lin") -> LeaveOneOut:
        """Return what each known example's target is, less what all the others predict of it.

        With A = K⁺⁻¹ in blocks of an example's rows, the residual is (A_ii)⁻¹ (A t)_i and the variance (A_ii)⁻¹.
        Source: Rasmussen & Williams 2006, eqs. 5.10 to 5.12.

        Args:
            of: ``f_lin``, the linearised network, which regresses t = Y⁺ - f(X⁺); or ``targets``, kernel regression
                on t = Y⁺ alone, the network left out.

        """
        F, z = self._bordered()
        known, k, C = self._known(), self.outputs, self.f.shape[1]
        A = cho_solve((F, True), np.eye(len(F)), check_finite=False)
        if of == "f_lin":
            t = F @ z
        else:
            Y = np.vstack([self.labelled.Y, *(answer.y[None] for answer in self.answers if answer.steps)])
            t = Y.reshape(-1, C // k)[known]
        weights, examples = A @ t, known // k
        residual, variance = np.full((examples[-1] + 1) * k * (C // k), np.nan).reshape(-1, C // k), []
        for example in range(examples[-1] + 1):
            at = np.flatnonzero(examples == example)
            block = np.linalg.inv(A[np.ix_(at, at)])
            residual[known[at]] = block @ weights[at]
            variance.append(block.diagonal().mean())
        return LeaveOneOut(residual.reshape(-1, C), np.array(variance))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all that is needed to go on as arrays by name, for ``from_arrays``; they are not to be written to."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        state = {name: value for name, value in held.items() if isinstance(value, np.ndarray)}
        steps = [(n, step) for n, answer in enumerate(self.answers) for step in answer.steps]
        U, C = self.f.shape
        state |= {f"labelled_{name}": value for name, value in self.labelled._asdict().items()}
        state |= {
            "answers_candidate": np.array([answer.candidate for answer in self.answers], int),
            "answers_y": np.array([answer.y for answer in self.answers]).reshape(-1, C),
            "steps_answer": np.array([n for n, _ in steps], int),
            "steps_row": np.array([step.row for _, step in steps], int),
            "steps_v": np.array([step.v for _, step in steps]).reshape(-1, U * self.outputs),
            "steps_zeta": np.array([step.zeta for _, step in steps]).reshape(-1, C // self.outputs),
            "steps_root": np.array([step.root for _, step in steps], float),
        }
        arrays = {name: np.asarray(value).view() for name, value in state.items()}
        for array in arrays.values():
            array.flags.writeable = False
        return arrays

    @classmethod
    def from_arrays(cls: type[P], arrays: dict[str, np.ndarray], **more: Any) -> P:
        """Return the posterior whose ``arrays`` these are.

        Args:
            arrays: by name.
            **more: fields that are no arrays.

        """
        parts: dict[str, dict[str, Any]] = {"labelled": {}, "answers": {}, "steps": {}}
        state = dict(more)
        for name, value in arrays.items():
            part, _, field = name.partition("_")
            if part in parts:
                parts[part][field] = value
            else:
                state[name] = value
        labelled = parts["labelled"]
        labelled |= {name: float(labelled[name]) for name in ("ridge", "jitter")}
        steps: dict[int, list[Step]] = {}
        for n, row, v, zeta, root in zip(*(parts["steps"][name] for name in ("answer", "row", "v", "zeta", "root")),
                                         strict=True):  # fmt: skip
            steps.setdefault(int(n), []).append(Step(int(row), v, zeta, float(root)))
        given = zip(parts["answers"]["candidate"].tolist(), parts["answers"]["y"], strict=True)
        answers = tuple(Answer(candidate, y, tuple(steps.get(n, ()))) for n, (candidate, y) in enumerate(given))
        return cls(labelled=LabelledFactor(**labelled), answers=answers, **state)

    def _known(self) -> np.ndarray:
        """Which rows of Θ(X⁺,X⁺) the bordered factor has, ``[L k + rows that told something]``."""
        k, told = self.outputs, [answer for answer in self.answers if answer.steps]
        L = len(self.labelled.Y)
        rows = [(L + n) * k + step.row % k for n, answer in enumerate(told) for step in answer.steps]
        return np.array([*range(L * k), *rows], int)

    def _bordered(self) -> tuple[np.ndarray, np.ndarray]:
        """F⁺ = [[F, 0], [Φ_Aᵀ, T]], T the steps' v at their rows with √s* on the diagonal, and z⁺ = [z, ζ]."""
        steps = [step for answer in self.answers for step in answer.steps]
        rows, L = [step.row for step in steps], len(self.labelled.F)
        F = np.zeros((L + len(rows), L + len(rows)))
        F[:L, :L], F[L:, :L] = self.labelled.F, self.labelled.Phi[:, rows].T
        for j, step in enumerate(steps):
            F[L + j, L + j] = step.root
            F[L + j + 1 :, L + j] = step.v[rows[j + 1 :]]
        return F, np.vstack([self.labelled.z, *(step.zeta[None] for step in steps)])

    def _gain(self, candidates: np.ndarray, S: np.ndarray) -> np.ndarray:
        """G of some candidates; rows are taken in order, and one that those before it determine is left out."""
        k, lam = self.outputs, self.labelled.lam
        at = candidates[:, None] * k + np.arange(k)  # [B, k]
        tells = ~self.redundant_rows[at]
        if k == 1:
            return np.where(tells, 1 / np.where(tells, self.variance[at] + lam, 1.0), 0.0)[:, :, None]
        own, eye = np.take_along_axis(S, at[:, None, :], 2), np.eye(k)[None]  # [B, k, k]
        left, least = own.astype(np.float64), (self.epsilon + 2 * self.labelled.jitter)[at]
        for c in range(k):
            tells[:, c] &= left[:, c, c] > least[:, c]
            v = left[:, c] / np.sqrt(np.where(tells[:, c], left[:, c, c] + lam, np.inf))[:, None]  # [B, k]
            left -= v[:, :, None] * v[:, None]
        both = tells[:, :, None] & tells[:, None]
        return np.where(both, np.linalg.inv(np.where(both, own + lam * eye, eye)), 0.0)


def redundancy(
    variance: Float[np.ndarray, " Uk"],
    prior: Float[np.ndarray, " Uk"],
    labelled: LabelledFactor,
    epsilon: Float[np.ndarray, " Uk"],
) -> Bool[np.ndarray, " Uk"]:
    """Return which rows tell nothing new after the labelled set ``[U k]``.

    Args:
        variance: S(x,x) ``[U k]``.
        prior: Θ(x,x) ``[U k]``.
        labelled: the labelled set's factor.
        epsilon: what of a variance is rounding ``[U k]``.

    """
    return (variance <= epsilon + 2 * labelled.jitter) | (prior + labelled.nearest <= COPY * prior)
