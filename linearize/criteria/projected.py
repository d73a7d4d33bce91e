"""The pool on the probability simplex while a label is imagined: where its outputs then project, and how far that is.

Everything runs in passes over [B, U] for a block of candidates, with no array [B, U, C].
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common.losses import PseudoResidual
from common.probabilities import simplex_threshold
from linearize.criteria.base import Request
from linearize.criteria.generic import before
from linearize.criteria.passes import (
    SMALL_BLOCK,
    Labels,
    compiled,
    expectation,
    fast,
    influence,
    over_classes,
    over_labels,
)
from linearize.posterior import Block, Posterior
from linearize.types import Array


class SimplexPool(NamedTuple):
    """f_lin on the pool with its projection onto the simplex, p = max(f_lin - τ, 0)."""

    f: Array  # [C, U]
    kept: Array  # [C, U], [p_c(x) > 0] / #kept
    tau: Array  # [U]

    @classmethod
    def of(cls, f_lin: np.ndarray, dtype: type[np.float32] | type[np.float64] = np.float64) -> "SimplexPool":
        """Project outputs ``[U, C]``; passes over the pool then run in ``dtype``.

        Args:
            f_lin: outputs ``[U, C]``.
            dtype: of the passes over the pool.

        """
        tau = simplex_threshold(f_lin)  # [U]
        kept = f_lin > tau[:, None]  # [U, C]
        with jax.enable_x64(True):
            return cls(*(jnp.asarray(v, dtype) for v in (f_lin.T, (kept / kept.sum(1, keepdims=True)).T, tau)))

    def after(self, q: Array, r: Array) -> Callable[[Array], Array]:
        """Return w_c = f_c(x) + q(x',x) r_c(x') as a function of c, ``[B, U]``, for q ``[B, U]`` and r ``[B, C]``.

        Args:
            q: influence ``[B, U]``.
            r: residuals of the imagined labels ``[B, C]``.

        """
        return lambda c: self.f[c][None] + q * r[:, c][:, None]

    def threshold(self, q: Array, r: Array) -> Array:
        """Return the threshold τ(w) of the projection of w = f + q r, ``[B, U]``; call it inside ``jax.jit``.

        τ(w) is the largest of (Σ_A w - 1)/|A| over all sets A of classes.  The set that is right for f(x) bounds it
        from below; from there Newton's steps on the convex Σ_c max(w_c - τ, 0) = 1 rise to it and end exactly.

        Args:
            q: influence ``[B, U]``.
            r: residuals of the imagined labels ``[B, C]``.

        """
        C, tolerance, outputs = len(self.f), 8 * jnp.finfo(q.dtype).eps, self.after(q, r)

        def newton(tau: Array) -> Array:
            above = over_classes(C, lambda c: (outputs(c) > tau).astype(q.dtype))
            mass = over_classes(C, lambda c: jnp.where(outputs(c) > tau, outputs(c), 0))
            return jnp.maximum(tau, (mass - 1) / jnp.maximum(above, 1))

        def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
            old, _ = state
            new = newton(old)
            return new, jnp.any(new > old + tolerance * (1 + jnp.abs(old)))

        start = newton(self.tau[None] + q * (r @ self.kept)), jnp.bool_(True)
        return jax.lax.while_loop(lambda state: state[1], step, start)[0]


class SoftmaxShift(NamedTuple):
    """The pool's logits before a label lifts its own: z = f(x) - q m(x'), so that f_lin⁺_c = z + lift onehot(c).

    The label c of x' pulls by step · onehot(c) - m(x'): lift = step · q.
    """

    f: Array  # [C, U]
    q: Array  # [B, U]
    lift: Array  # [B, U]
    of_candidates: Array  # [B, C], m(x')

    @classmethod
    def of(cls, f: Array, pull: PseudoResidual, block: Block) -> "SoftmaxShift":
        """Take a block of candidates for logits ``[C, U]``; call it inside ``jax.jit``.

        Args:
            f: logits ``[C, U]``.
            pull: what labels pull by.
            block: the candidates.

        """
        q = influence(block, f.dtype)
        return cls(f, q, jnp.asarray(pull.step, f.dtype) * q, jnp.asarray(pull.m, f.dtype)[block.candidates])

    def logit(self, c: Array) -> Array:
        """Return z_c ``[B, U]``; of a class c, or of one class for each candidate ``[B]``."""
        f = self.f[c] if jnp.ndim(c) else self.f[c][None]
        own = (
            jnp.take_along_axis(self.of_candidates, c[:, None], 1) if jnp.ndim(c) else self.of_candidates[:, c][:, None]
        )
        return f - self.q * own

    def best_two(self) -> tuple[Array, Array]:
        """Return the largest z_c and the next, ``[B, U]`` both; the same where two are level."""
        nothing = jnp.full(self.q.shape, -jnp.inf, self.f.dtype)

        def better(x: tuple[Array, Array], y: tuple[Array, Array]) -> tuple[Array, Array]:
            return jnp.maximum(x[0], y[0]), jnp.maximum(jnp.minimum(x[0], y[0]), jnp.maximum(x[1], y[1]))

        return over_classes(len(self.f), lambda c: (self.logit(c), nothing), better)


def leads(z: Array, top: Array, second: Array) -> Array:
    """Tell whether a class alone has the largest logit, whatever z was rounded to when the two largest were found.

    Args:
        z: logits ``[B, U]``.
        top: the largest ``[B, U]``.
        second: the next ``[B, U]``.

    """
    return (2 * z > top + second) & (top - second > 16 * jnp.finfo(z.dtype).eps * (1 + jnp.abs(top)))


class Lifted(NamedTuple):
    """softmax(z + lift onehot(c)) by sums of e^(w_k - w), w the largest of the logits w_k = z_k + lift [k = c]."""

    others: Array  # [B, U], Σ_k≠c e^(w_k - w)
    of_others: Array  # [B, U], Σ_k≠c (w_k - w) e^(w_k - w)
    own: Array  # [B, U], e^(w_c - w)
    of_own: Array  # [B, U], (w_c - w) e^(w_c - w)


class SoftmaxSums(NamedTuple):
    """What all labels have in common: Σ e^v and Σ v e^v over all classes, v = z - top, and over all but the largest.

    What is left of a sum without its largest term is rounding, so these sums are kept beside, with v = z - second.
    """

    shift: SoftmaxShift
    top: Array  # [B, U], max_c z_c
    second: Array  # [B, U], the next; as large where two are level
    whole: tuple[Array, Array]  # [B, U] both
    rest: tuple[Array, Array]  # [B, U] both

    @classmethod
    def of(cls, shift: SoftmaxShift) -> "SoftmaxSums":
        """Sum up; call it inside ``jax.jit``."""
        top, second = shift.best_two()

        def terms(c: Array) -> tuple[Array, Array, Array, Array]:
            z = shift.logit(c)
            v, w = z - top, jnp.minimum(z - second, 0)
            e, rest = jnp.exp(v), jnp.where(leads(z, top, second), 0, jnp.exp(w))
            return e, v * e, rest, w * rest

        s, t, s_rest, t_rest = over_classes(len(shift.f), terms, lambda x, y: jax.tree.map(jnp.add, x, y))
        return cls(shift, top, second, (s, t), (s_rest, t_rest))

    def lifted(self, c: Array) -> Lifted:
        """Return the sums after the label c, in O(1) a pair."""
        z = self.shift.logit(c)
        v = z - self.top
        e = jnp.exp(v)
        alone = leads(z, self.top, self.second)
        s, t = jnp.where(alone, self.rest[0], self.whole[0] - e), jnp.where(alone, self.rest[1], self.whole[1] - v * e)
        g = z + self.shift.lift - jnp.where(alone, self.second, self.top)  # above the largest of the others
        up, small = jnp.maximum(g, 0), jnp.exp(-jnp.abs(g))
        kept, own = jnp.where(g > 0, small, 1), jnp.where(g > 0, 1, small)
        return Lifted(s * kept, (t - up * s) * kept, own, (g - up) * own)


@compiled
def _simplex_distance(
    pool: SimplexPool, then: Array, pull: PseudoResidual, labels: Labels, block: Block, most: Array
) -> Array:
    q = influence(block, jnp.float64)  # [B, U]

    def distance(r: Array) -> Array:
        outputs, tau = pool.after(q, r), pool.threshold(q, r)
        squared = over_classes(len(pool.f), lambda c: (jnp.maximum(outputs(c) - tau, 0) - then[c][None]) ** 2)
        return jnp.sqrt(squared).sum(1)

    return expectation(labels, pull, block, most, distance)


@compiled
def _softmax_distance(f: Array, then: Array, pull: PseudoResidual, labels: Labels, block: Block, most: Array) -> Array:
    """Return Σ_c p_c(x') Σ_x ‖softmax(z + l onehot(c)) - then(x)‖₂ z and l of ``SoftmaxShift``, ``[B]``.

    It is b + t (onehot(c) - b) for b = softmax(z).  With d = b - then the squared distance is
    ‖d‖² + 2 t (d_c - d·b) + t² (1 - 2 b_c + ‖b‖²): O(C) a pair for all labels.  Where the label takes nearly all from
    the largest class, t is -∞ to rounding, and the softmax o over the other classes stands in the place of b.  A
    distance is right to 1e-8: it is the root of a difference.

    Args:
        f: logits ``[C, U]``.
        then: probabilities ``[C, U]``.
        pull: the labels' residuals.
        labels: the labels of all candidates.
        block: the candidates.
        most: the largest number of likely labels of any of them.

    """
    shift, C, limit = SoftmaxShift.of(f, pull, block), len(f), 0.9 * float(np.log(np.finfo(f.dtype).max))
    sums = SoftmaxSums.of(shift)
    top, second, s, s_rest = sums.top, sums.second, sums.whole[0], jnp.maximum(sums.rest[0], 1)

    def products(c: Array) -> tuple[Array, ...]:
        z, was = shift.logit(c), then[c][None]
        b, o = jnp.exp(z - top) / s, jnp.where(leads(z, top, second), 0, jnp.exp(jnp.minimum(z - second, 0)))
        o /= s_rest
        d, e = b - was, o - was
        return d * d, d * b, b * b, e * e, e * o, o * o

    dd, db, bb, ee, eo, oo = over_classes(C, products, lambda x, y: jax.tree.map(jnp.add, x, y))
    classes, p = (jnp.asarray(array)[block.candidates] for array in (labels.classes, labels.p))  # [B, C]

    def add(k: Array, total: Array) -> Array:
        c = classes[:, k]  # [B]
        z, p_was = shift.logit(c), then[c]
        was = jnp.exp(z - top)
        gained = jnp.exp(jnp.minimum(z + shift.lift - top, limit)) - was
        b, t = was / s, gained / (s + gained)
        squared = dd + t * (2 * (b - p_was - db) + t * (1 - 2 * b + bb))
        own = jnp.exp(jnp.minimum(z + shift.lift - second, limit))
        t = own / (s_rest + own)
        instead = ee + t * (t * (1 + oo) - 2 * (p_was + eo))
        squared = jnp.where(s + gained < s / 4, instead, squared)
        return total + p[:, k] * jnp.sqrt(jnp.maximum(squared, 0)).sum(1)

    return jax.lax.fori_loop(0, most, add, jnp.zeros(len(p), p.dtype))


_DISTANCES: dict[str, Callable[..., Array]] = {"simplex": _simplex_distance, "softmax": _softmax_distance}


def expected_distance(posterior: Posterior, p: np.ndarray, request: Request) -> np.ndarray | None:
    """Return Σ_c p_c(x') Σ_x ‖P(f_ref(x)) - P(f_lin⁺_c(x))‖₂ of every candidate, P from outputs to probabilities.

    Args:
        posterior: the linearised network.
        p: the weights of the labels ``[U, C]``; a label of weight 0 costs nothing.
        request: what change is measured from, and what outputs mean.

    Returns:
        ``[U]``; None where there is no fast form.

    """
    pull, distance = fast(posterior, request.loss), _DISTANCES.get(request.loss.probabilities.name)
    if pull is None or distance is None:
        return None
    labels, f = Labels.of(p), posterior.mean
    then = np.ascontiguousarray(request.loss.probabilities.of(before(posterior, request)).T)  # [C, U]
    pool = SimplexPool.of(f) if distance is _simplex_distance else np.ascontiguousarray(f.T)
    block = min(request.block, SMALL_BLOCK)
    return over_labels(posterior, labels, lambda *columns: distance(pool, then, pull, labels, *columns), block)
