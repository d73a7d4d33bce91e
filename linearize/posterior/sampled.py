"""The posterior with the rows of S that sums over the pool are estimated from: linear in the pool.

A score that is a sum over all points x of the pool takes all of S(x,x').  Here v of them, drawn at random, stand for
the others; their rows S(x,·), and those of candidates that are looked at exactly, are all that is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import blas

from linearize.posterior.base import REDUNDANT_FLOAT32, Posterior, Step, redundancy
from linearize.posterior.factor import LabelledFactor

Rectangle = Callable[[np.ndarray], np.ndarray]
"""Maps positions in the pool ``[n]`` to Θ(those, U) ``[n, U]``."""
UNIFORM = 0.2
"""Share of the draws that is uniform, so that no point of small weight now can have a large one in the estimate once
answers have changed what is open."""


class References(NamedTuple):
    """Points that stand for the pool: v draws with replacement.

    Args:
        at: the points drawn, each once ``[r]``.
        times: how often each was ``[r]``.
        p: the probability of each point of the pool in a draw ``[U]``.

    """

    at: np.ndarray
    times: np.ndarray
    p: np.ndarray

    @classmethod
    def draw(cls, weights: Float[np.ndarray, " U"], v: int, seed: int) -> "References":
        """Draw by what a point is expected to count, but for a share that is uniform.

        Args:
            weights: what each point counts, at least 0 ``[U]``.
            v: draws.
            seed: of these alone.

        """
        U, total = len(weights), float(np.sum(weights))
        p = np.full(U, 1 / U) if total <= 0 else (1 - UNIFORM) * np.asarray(weights, np.float64) / total + UNIFORM / U
        at, times = np.unique(np.random.default_rng(seed).choice(U, size=v, p=p / p.sum()), return_counts=True)
        return cls(at, times, p)

    @property
    def draws(self) -> int:
        """v."""
        return int(self.times.sum())


class Held(NamedTuple):
    """Rows of S that are there.

    Args:
        at: whose ``[r]``.
        S: S(at,·) ``[r, U]``.

    """

    at: np.ndarray
    S: np.ndarray

    def of(self, candidates: np.ndarray) -> tuple[Int[np.ndarray, " n"], np.ndarray]:
        """Return where the rows of candidates are ``[n]``, and which of them are there ``[n]``."""
        if not len(self.at):
            return np.zeros(len(candidates), int), np.zeros(len(candidates), bool)
        order = np.argsort(self.at, kind="stable")
        found = order[np.searchsorted(self.at, candidates, sorter=order).clip(max=len(order) - 1)]
        return found, self.at[found] == candidates


@dataclass(frozen=True, eq=False, kw_only=True)
class Sampled(Posterior):
    """A posterior of a scalar kernel that holds S(x,·) of some points, and computes others when they are asked for.

    Holding more rows changes nothing of what it says.

    Args:
        rectangle: gives rows of Θ(U,U).
        references: the points that stand for the pool.
        held: rows of S.

    """

    dense: ClassVar[bool] = False

    rectangle: Rectangle = field(repr=False)
    references: References
    held: Held

    @classmethod
    def init(
        cls,
        labelled: LabelledFactor,
        prior: Float[np.ndarray, " U"],
        f_U: Float[np.ndarray, "U C"],
        references: References,
        rows: Float[np.ndarray, "r U"],
        rectangle: Rectangle,
        *,
        dtype: np.dtype,
        redundant: float = REDUNDANT_FLOAT32,
    ) -> "Sampled":
        """Finish training on the labelled set in the linearised network, as ``Dense.init`` does.

        Args:
            labelled: the labelled set's factor.
            prior: Θ(x,x) of the pool ``[U]``.
            f_U: the network's outputs on the pool ``[U, C]``.
            references: the points that stand for the pool.
            rows: Θ(references,U) ``[r, U]``.
            rectangle: gives others.
            dtype: what S is kept in.
            redundant: the share of Θ(x,x) under which S(x,x) is rounding.

        """
        Phi, f = labelled.Phi, np.array(f_U, np.float64)
        mean = f + (Phi.T @ labelled.z).reshape(f.shape)
        variance, epsilon = prior - np.einsum("lu,lu->u", Phi, Phi), redundant * prior
        tells_nothing, none = redundancy(variance, prior, labelled, epsilon), np.zeros(len(f), bool)
        held = Held(np.empty(0, int), np.empty((0, len(f)), dtype))
        posterior = cls(labelled=labelled, f=f, mean=mean, variance=variance, epsilon=epsilon, answered=none, held=held,
                        redundant_rows=tells_nothing, rectangle=rectangle, references=references)  # fmt: skip
        posterior._keep(references.at, rows)
        return posterior

    def hold(self, candidates: Int[np.ndarray, " n"]) -> None:
        """Compute and keep the rows of candidates that are not there yet.

        Args:
            candidates: positions in the pool.

        """
        missing = np.unique(candidates[~self.held.of(candidates)[1]])
        if len(missing):
            self._keep(missing, self.rectangle(missing))

    def rows(self, candidates: np.ndarray | slice) -> Float[np.ndarray, "B 1 U"]:
        """Return S(x',·) of some candidates ``[B, 1, U]``."""
        at = np.arange(len(self.f))[candidates]
        self.hold(at)
        return self.held.S[self.held.of(at)[0]][:, None]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all that is needed to go on, rows of S among it."""
        parts: dict[str, References | Held] = {"references": self.references, "held": self.held}
        return super().arrays() | {
            f"{part}_{name}": array for part, record in parts.items() for name, array in record._asdict().items()
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], **more: Any) -> "Sampled":
        """Return the posterior whose ``arrays`` these are.

        Args:
            arrays: by name.
            **more: fields that are no arrays.

        """
        rest, references, held = dict(arrays), dict[str, np.ndarray](), dict[str, np.ndarray]()
        for prefix, fields in (("references_", references), ("held_", held)):
            for name in [name for name in rest if name.startswith(prefix)]:
                fields[name.removeprefix(prefix)] = rest.pop(name)
        return super().from_arrays(rest, references=References(**references), held=Held(**held), **more)

    def _keep(self, at: np.ndarray, theta: np.ndarray) -> None:
        """Make rows of Θ those of S, with all answers so far, and keep them."""
        S = theta - self.labelled.Phi[:, at].T @ self.labelled.Phi
        for answer in self.answers:
            for step in answer.steps:
                S -= step.v[at][:, None] * step.v
        S[:, self.answered], S[self.answered[at]] = 0, 0
        held = Held(np.concatenate([self.held.at, at]), np.vstack([self.held.S, S.astype(self.held.S.dtype)]))
        object.__setattr__(self, "held", held)

    def _column(self, row: int) -> np.ndarray:
        return self.rows(np.array([row]))[0, 0].copy()

    def _updated(self, gone: np.ndarray, steps: tuple[Step, ...], donate: bool) -> dict[str, Any]:
        at, S = self.held
        if donate:
            object.__setattr__(self, "held", Held(at[:0], S[:0]))  # computed again if it is asked for all the same
            S = np.require(S, requirements=["C", "W"])
        else:
            S = S.copy()
        for step in steps:
            v = step.v.astype(S.dtype)
            ger = blas.sger if S.dtype == np.float32 else blas.dger
            ger(-1.0, v, v[at], a=S.T, overwrite_x=False, overwrite_y=False, overwrite_a=True)
        S[:, gone] = 0
        S[gone[at]] = 0
        return {"held": Held(at, S)}
