"""The passes over [B, U] that the fast forms of criteria run in, and the labels that they imagine.

They serve a scalar kernel (k = 1) and a loss whose step is one number; ``fast`` tells.
"""

import functools
import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common.losses import Loss, PseudoResidual
from linearize.posterior import Block, Posterior
from linearize.types import Array

SMALL_BLOCK = 48
"""Candidates a block at most in passes that are bound by arithmetic: fastest where a block stays in the cache."""
TEMPORARY = 2**24
"""Bytes of a temporary [B, k, U k] at most: above 32 MiB the C library takes each from the system and gives it back,
and page faults then cost more than the arithmetic."""

# Whole AVX-512 registers where there are any, and a maximum that need not pass NaN on: together half the time on a CPU.
OPTIONS = {"xla_cpu_prefer_vector_width": 512, "xla_cpu_enable_fast_min_max": True}
compiled = functools.partial(jax.jit, compiler_options=OPTIONS)


def fast(posterior: Posterior, loss: Loss) -> PseudoResidual | None:
    """Return what labels pull the pool by where the fast forms hold, else None; one class has none to be told from.

    Args:
        posterior: the linearised network.
        loss: that trained the network, calibrated.

    """
    pull = loss.pseudo_residual(posterior.mean)
    return pull if posterior.outputs == 1 < posterior.f.shape[1] and pull.uniform else None


def influence(block: Block, dtype: np.dtype | type | None = None) -> Array:
    """Return q(x', x) = S(x',x)/u(x') of a scalar kernel ``[B, U]``; call it inside ``jax.jit``.

    Args:
        block: candidates.
        dtype: of the result; that of S by default.

    """
    q = jnp.asarray(block.S)[:, 0] * jnp.asarray(block.G)[:, 0]
    return q.astype(dtype or block.S.dtype)


def over_blocks(
    posterior: Posterior, score: Callable[[Block], Array], block: int, order: np.ndarray | None = None
) -> np.ndarray:
    """Apply ``score`` to every block of candidates, at U·B memory.

    Args:
        posterior: the linearised network; its S may be float32.
        score: maps a block to one score a candidate ``[B]``; called inside ``jax.enable_x64``.
        block: B, candidates a block, fewer where a temporary would be too large.  The last block starts early enough to
            be as long, so that nothing recompiles.
        order: the candidates in the order in which blocks take them ``[U]``; as they stand when absent.

    Returns:
        Scores ``[U]``.

    """
    U, k = len(posterior.f), posterior.outputs
    B, scores = max(1, min(block, U, TEMPORARY // (8 * U * k * k))), np.empty(U)
    with jax.enable_x64(True):
        for start in range(0, U, B):
            rows = slice(min(start, U - B), min(start, U - B) + B)
            columns = posterior.block(rows if order is None else order[rows])
            scores[columns.candidates] = np.asarray(score(columns))
    return scores


class Labels(NamedTuple):
    """The labels that a candidate may get, likeliest first."""

    classes: np.ndarray  # [U, C]
    p: np.ndarray  # [U, C], their probabilities, falling
    likely: np.ndarray  # [U], how many have p > 0

    @classmethod
    def of(cls, p: np.ndarray) -> "Labels":
        """Rank the classes of each candidate by probability ``[U, C]``."""
        classes = np.argsort(-np.asarray(p, np.float64), axis=1, kind="stable")
        return cls(classes, np.take_along_axis(np.asarray(p, np.float64), classes, axis=1), (p > 0).sum(1))

    def fewest_first(self) -> np.ndarray:
        """Return the candidates by number of likely labels, ``[U]``: a block then wastes little on unlikely ones."""
        return np.argsort(self.likely, kind="stable")


def expectation(
    labels: Labels, pull: PseudoResidual, block: Block, most: Array, value: Callable[[Array], Array]
) -> Array:
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

    def add(n: Array, total: Array) -> Array:
        r = pull.step * jax.nn.one_hot(classes[:, n], m.shape[1], dtype=m.dtype) - m  # [B, C]
        return total + p[:, n] * value(r)

    return jax.lax.fori_loop(0, most, add, jnp.zeros(len(p), p.dtype))


def over_labels(
    posterior: Posterior, labels: Labels, score: Callable[[Block, np.ndarray], Array], block: int
) -> np.ndarray:
    """Apply ``score`` to blocks of candidates with about equally many likely labels.

    Args:
        posterior: the linearised network.
        labels: the labels of all candidates.
        score: maps a block and the largest number of likely labels in it to scores ``[B]``.
        block: candidates at once.

    Returns:
        Scores ``[U]``.

    """

    def one(columns: Block) -> Array:
        return score(columns, labels.likely[columns.candidates].max())

    return over_blocks(posterior, one, block, labels.fewest_first())


@jax.jit
def _absolute_influence(block: Block) -> Array:
    return jnp.abs(jnp.asarray(block.S)[:, 0]).sum(1, dtype=jnp.float64) * block.G[:, 0, 0]


def absolute_influence(posterior: Posterior, block: int) -> np.ndarray:
    """Return Σ_x |S(x,x')| / u(x') of every candidate, ``[U]``; 0 where redundant.

    f_lin⁺ - f_lin is q(x,x') r(x')ᵀ, so this times ‖r(x')‖ is how far the linearised network's outputs move.

    Args:
        posterior: the linearised network.
        block: candidates at once.

    """
    return over_blocks(posterior, _absolute_influence, block)


UNROLLED = 16
"""Up to this many classes, a reduction over classes is written out, so that it compiles to one pass."""


def over_classes(
    C: int, term: Callable[[Array], Array], combine: Callable[[Array, Array], Array] = operator.add
) -> Array:
    """Return ``term(0)`` combined with ``term(1)`` ... ``term(C - 1)``; call it inside ``jax.jit``.

    Args:
        C: classes, a Python integer.
        term: maps a class, an integer or a traced one, to an array.
        combine: of two such.

    """
    if C <= UNROLLED:
        return functools.reduce(combine, (term(c) for c in range(C)))
    return jax.lax.fori_loop(1, C, lambda c, total: combine(total, term(c)), term(0))
