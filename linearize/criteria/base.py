"""What a look-ahead criterion is, the column blocks that all of them run in, and the labels that they imagine."""

import functools
import operator
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol, get_args, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from linearize.errors import LinearizeError
from linearize.regression import Regression
from linearize.residuals import Pull
from linearize.types import Array, Float64

Reference = Literal["network", "linearized"]
"""What the change is measured from: the network's outputs f, or the linearised network's f_lin."""

Distance = Literal["outputs", "simplex"]
"""Where a change is measured: between outputs as they are, or between the probabilities that they mean."""

DEFAULT_COLUMNS = 256

SMALL_BLOCK = 48
"""Candidates a block at most in passes that are bound by arithmetic: fastest where a block stays in the cache."""

# Whole AVX-512 registers where there are any, and a maximum that need not pass NaN on: together half the time on a CPU.
OPTIONS = {"xla_cpu_prefer_vector_width": 512, "xla_cpu_enable_fast_min_max": True}
compiled = functools.partial(jax.jit, compiler_options=OPTIONS)


def check_measure(reference: str | None, distance: str) -> None:
    """Refuse a reference or a distance that is none; None stands for a criterion's own reference.

    Raises:
        LinearizeError: it lists those that there are.

    """
    if reference is not None and reference not in get_args(Reference):
        raise LinearizeError(f"reference: expected one of {', '.join(get_args(Reference))}; got {reference!r}")
    if distance not in get_args(Distance):
        raise LinearizeError(f"distance: expected one of {', '.join(get_args(Distance))}; got {distance!r}")


class Predictions(Protocol):
    """The part of the regression's state that takes no Θ(U,U)."""

    @property
    def f_lin(self) -> Float64:
        """The linearised network's outputs on the pool, ``[U, C]``."""
        ...

    @property
    def redundant(self) -> np.ndarray:
        """Candidates that tell nothing new, ``[U]`` bool."""
        ...


class Finished(Predictions, Protocol):
    """The part of the regression's state that tells what finishing training changes."""

    @property
    def f(self) -> Float64:
        """The network's outputs on the pool, ``[U, C]``."""
        ...

    @property
    def a(self) -> Float64:
        """What finishing training would add to them, ``[U, C]``."""
        ...


class Named(Protocol):
    """What every criterion says of itself."""

    @property
    def name(self) -> str:
        """What users call it."""
        ...

    @property
    def source(self) -> str:
        """Whom to cite."""
        ...

    @property
    def default_reference(self) -> Reference:
        """What change is measured from where the caller does not say; of no account where none is."""
        ...


class Criterion(Named, Protocol):
    """A function of the regression's state; higher means query first."""

    def scores(
        self,
        state: Regression,
        reference: Reference,
        block: int = DEFAULT_COLUMNS,
        distance: Distance = "outputs",
    ) -> Float64:
        """Score every candidate, ``[U]``; where no distance is measured, ``distance`` makes no difference.

        A redundant candidate scores what changing nothing is worth: 0 where the criterion measures change, the
        present entropy where it measures entropy.
        """
        ...


@runtime_checkable
class Change(Protocol):
    """A criterion that measures a change, of which finishing training alone may be the larger part."""

    def finishing(self, state: Finished, distance: Distance = "outputs") -> float:
        """Return what the change from f to f_lin, the same for every candidate, is worth."""
        ...


class HalfwayCriterion(Named, Protocol):
    """A function of f_lin alone; higher means query first.  Every one of them is a ``Criterion``."""

    def scores(
        self,
        state: Predictions,
        reference: Reference,
        block: int = DEFAULT_COLUMNS,
        distance: Distance = "outputs",
    ) -> Float64:
        """Score every candidate, ``[U]``."""
        ...


class Block(NamedTuple):
    """B candidates x' with their columns of S; S is symmetric, so these are read as rows, which lie together."""

    candidates: np.ndarray  # [B], positions in the pool
    S: Float64  # [B, U], S(x',x)
    per_u: Float64  # [B], 1/u(x'); 0 where redundant

    def influence(self, dtype: np.dtype | type | None = None) -> Array:
        """q(x', x) = S(x',x)/u(x'), ``[B, U]``; call it inside ``jax.jit``."""
        return (jnp.asarray(self.S) * jnp.asarray(self.per_u)[:, None]).astype(dtype or self.S.dtype)


def over_column_blocks(
    state: Regression, score: Callable[[Block], Array], block: int, order: np.ndarray | None = None
) -> Float64:
    """Apply ``score`` to every block of candidates, at U·B memory.

    Args:
        state: the regression on the labelled set; its S may be float32.
        score: maps a block to one score a candidate ``[B]``; called inside ``jax.enable_x64``.
        block: B, candidates a block.  The last block starts early enough to be as long, so that nothing recompiles.
        order: the candidates in the order in which blocks take them ``[U]``; as they stand when absent.

    Returns:
        Scores ``[U]``.

    """
    U = len(state.u)
    B = min(block, U)
    per_u = np.where(state.redundant, 0.0, 1 / state.u)
    scores = np.empty(U)
    with jax.enable_x64(True):
        for start in range(0, U, B):
            rows = slice(min(start, U - B), min(start, U - B) + B)
            candidates = np.arange(U)[rows] if order is None else order[rows]
            S = state.S[rows] if order is None else state.S[candidates]  # [B, U]; a view where that is possible
            scores[candidates] = np.asarray(score(Block(candidates, S, per_u[candidates])))
    return scores


def no_gain_if_redundant(state: Predictions, scores: Float64) -> Float64:
    """Give redundant candidates the score 0, whatever the reference: their label would change nothing."""
    return np.where(state.redundant, 0.0, scores)


@jax.jit
def _absolute_influence(block: Block) -> Array:
    return jnp.abs(jnp.asarray(block.S)).sum(1, dtype=jnp.float64) * block.per_u


def absolute_influence(state: Regression, block: int) -> Float64:
    """Return Σ_x |S(x,x')| / u(x') of every candidate, ``[U]``; 0 where redundant.

    f_lin⁺ - f_lin is q(x,x') r(x')ᵀ, so this times ‖r(x')‖ is how far the linearised network's outputs move.
    """
    return over_column_blocks(state, _absolute_influence, block)


class Labels(NamedTuple):
    """The labels that a candidate may get, likeliest first."""

    classes: np.ndarray  # [U, C]
    p: Float64  # [U, C], their probabilities, falling
    likely: np.ndarray  # [U], how many have p > 0

    @classmethod
    def of(cls, p: Float64) -> "Labels":
        """Rank the classes of each candidate by probability ``[U, C]``."""
        classes = np.argsort(-p, axis=1, kind="stable")
        return cls(classes, np.take_along_axis(p, classes, axis=1), (p > 0).sum(1))

    def fewest_first(self) -> np.ndarray:
        """Return the candidates by number of likely labels, ``[U]``: a block then wastes little on unlikely ones."""
        return np.argsort(self.likely, kind="stable")


def expectation(labels: Labels, pull: Pull, block: Block, most: Array, value: Callable[[Array], Array]) -> Array:
    """Return Σ_c p_c(x') value(r(x', c)) for a block of candidates, ``[B]``; call it inside ``jax.jit``.

    Args:
        labels: the labels of all candidates.
        pull: their residuals.
        block: the candidates.
        most: the largest number of likely labels of any of them; a traced integer, so that nothing recompiles.
        value: maps the residuals r ``[B, C]`` to a value a candidate ``[B]``.

    """
    classes, p = (jnp.asarray(array)[block.candidates] for array in (labels.classes, labels.p))  # [B, C]
    m = jnp.asarray(pull.m)[block.candidates]  # [B, C]

    def add(k: Array, total: Array) -> Array:
        r = pull.step * jax.nn.one_hot(classes[:, k], m.shape[1], dtype=m.dtype) - m  # [B, C]
        return total + p[:, k] * value(r)

    return jax.lax.fori_loop(0, most, add, jnp.zeros(len(p), p.dtype))


UNROLLED = 16
"""Up to this many classes, a reduction over classes is written out, so that it compiles to one pass."""


def over_classes(
    C: int, term: Callable[[Array], Array], combine: Callable[[Array, Array], Array] = operator.add
) -> Array:
    """Return ``term(0)`` combined with ``term(1)`` ... ``term(C - 1)``; call it inside ``jax.jit``."""
    if C <= UNROLLED:
        return functools.reduce(combine, (term(c) for c in range(C)))
    return jax.lax.fori_loop(1, C, lambda c, total: combine(total, term(c)), term(0))
