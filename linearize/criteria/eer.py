"""Expected error reduction: how unsure the linearised network stays of the pool, averaged over the labels to come."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from linearize.criteria.base import (
    DEFAULT_COLUMNS,
    Block,
    Labels,
    Reference,
    expectation,
    over_classes,
    over_column_blocks,
)
from linearize.probabilities import Probabilities, project_onto_simplex, simplex_threshold, softmax
from linearize.regression import Regression
from linearize.types import Array, Float64

SMALL_BLOCK = 48
"""Candidates a block at most: these passes are bound by arithmetic and fastest where a block stays in the cache."""

# Whole AVX-512 registers where there are any, and a maximum that need not pass NaN on: together half the time on a CPU.
OPTIONS = {"xla_cpu_prefer_vector_width": 512, "xla_cpu_enable_fast_min_max": True}
compiled = partial(jax.jit, compiler_options=OPTIONS)


def _simplex_entropy(f: Array, kept: Array, tau: Array, q: Array, r: Array) -> Array:
    """Return Σ_x H(p) with p(x) the projection of w = f(x) + q(x',x) r(x') onto the simplex, ``[B]``.

    The threshold τ(w) is the largest of (Σ_A w - 1)/|A| over all sets A of classes.  The set that is right for f(x)
    bounds it from below; from there Newton's steps on the convex Σ_c max(w_c - τ, 0) = 1 rise to it and end exactly.

    Args:
        f: outputs ``[C, U]``.
        kept: [p_c(x) > 0] / #kept, for the projection p of f(x), ``[C, U]``.
        tau: its threshold ``[U]``.
        q: influence ``[B, U]``.
        r: residuals of the imagined labels ``[B, C]``.

    """
    C, tolerance = len(f), 8 * jnp.finfo(q.dtype).eps

    def outputs(c: Array) -> Array:
        return f[c][None] + q * r[:, c][:, None]  # [B, U]

    def newton(tau: Array) -> Array:
        above = over_classes(C, lambda c: (outputs(c) > tau).astype(q.dtype))
        mass = over_classes(C, lambda c: jnp.where(outputs(c) > tau, outputs(c), 0))
        return jnp.maximum(tau, (mass - 1) / jnp.maximum(above, 1))

    def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
        old, _ = state
        new = newton(old)
        return new, jnp.any(new > old + tolerance * (1 + jnp.abs(old)))

    tau, _ = jax.lax.while_loop(lambda state: state[1], step, (newton(tau[None] + q * (r @ kept)), jnp.bool_(True)))

    def term(c: Array) -> Array:
        p = jnp.maximum(outputs(c) - tau, 0)
        return p * jnp.log(jnp.maximum(p, 1e-30))

    return -over_classes(C, term) @ jnp.ones(f.shape[1], q.dtype)


@compiled
def _simplex_scores(
    f: Array, kept: Array, tau: Array, f_lin: Array, labels: Labels, block: Block, most: Array
) -> Array:
    q = block.influence(f.dtype)  # [B, U]
    return -expectation(labels, f_lin, block, most, lambda r: _simplex_entropy(f, kept, tau, q, r.astype(f.dtype)))


@compiled
def _softmax_scores(f: Array, p: Array, block: Block) -> Array:
    """Return -Σ_c p_c(x') Σ_x H(softmax(z + q onehot(c))) with z = f(x) - q f(x'), O(C) a pair for all C labels.

    A label shifts its own logit alone: with s = Σ_k e^z_k and t = Σ_k z_k e^z_k,
    Z_c = s + e^z_c (e^q - 1),  T_c = t + e^z_c ((z_c + q) e^q - z_c),  H_c = log Z_c - T_c/Z_c.

    Args:
        f: outputs ``[C, U]``.
        p: probabilities of the labels ``[U, C]``.
        block: the candidates.

    """
    C = len(f)
    limit = 0.9 * float(np.log(jnp.finfo(f.dtype).max))  # e^q stays finite; beyond it a class is certain anyway
    q = jnp.clip(block.influence(f.dtype), -limit, limit)  # [B, U]
    of_candidates, weights = f.T[block.candidates], p[block.candidates].astype(f.dtype)  # [B, C]

    def logit(c: Array) -> Array:
        return f[c][None] - q * of_candidates[:, c][:, None]  # [B, U]

    top = over_classes(C, logit, jnp.maximum)
    s = over_classes(C, lambda c: jnp.exp(logit(c) - top))
    t = over_classes(C, lambda c: (logit(c) - top) * jnp.exp(logit(c) - top))
    raised = jnp.exp(q)

    def term(c: Array) -> Array:
        z = logit(c) - top
        e = jnp.exp(z)
        Z = jnp.maximum(s + e * (raised - 1), e * raised)
        H = jnp.log(Z) - (t + e * ((z + q) * raised - z)) / Z
        return weights[:, c][:, None] * jnp.clip(H, 0, float(np.log(C)))

    return -over_classes(C, term) @ jnp.ones(f.shape[1], f.dtype)


class Eer:
    """A(x') = -Σ_c p_c(x') Σ_x H(p(f_lin⁺_c(x))), where f_lin⁺_c has seen x' with label c; in nats.

    p is the projection onto the simplex, which suits networks trained with the L2 loss, or the softmax, for those
    trained with cross-entropy; never the softmax of an L2-trained network's outputs, which is nearly flat.  The labels'
    weights are p(f(x')).  The criterion measures no change, so both references give the same scores.  A redundant
    candidate leaves f_lin as it is and scores its entropy, -Σ_x H(p(f_lin(x))): below every candidate that is expected
    to lower the entropy, above every one that is expected to raise it.  Source: look-ahead paper, eq. 2.

    The passes over [B, U] run in float32 by default.  At U = 5000, C = 10 the scores then differed from float64's by
    3e-7 relative, where their spread is 3e-4 (simplex) or 2e-5 (softmax); of the 100 best, 100 and 99 were the same.

    Args:
        probabilities: ``simplex`` or ``softmax``.  The projection takes O(C) for each label of positive probability,
            the softmax O(C) for all labels together.
        dtype: of the passes.

    """

    name = "eer"
    source = "Roy & McCallum, ICML 2001; Mohamadi, Bae & Sutherland, NeurIPS 2022, eq. 2"
    default_reference: Reference = "linearized"

    def __init__(
        self,
        probabilities: Probabilities = "simplex",
        dtype: type[np.float32] | type[np.float64] = np.float32,
    ) -> None:
        self.probabilities = probabilities
        self.dtype = dtype

    def scores(self, state: Regression, reference: Reference, block: int = DEFAULT_COLUMNS) -> Float64:
        """Score every candidate, ``[U]``, in one pass over column blocks of S; ``reference`` makes no difference."""
        block = min(block, SMALL_BLOCK)
        with jax.enable_x64(True):
            f = jnp.asarray(state.f_lin.T, self.dtype)  # [C, U]
        if self.probabilities == "softmax":
            p = softmax(state.f)
            return over_column_blocks(state, lambda columns: _softmax_scores(f, p, columns), block)
        labels = Labels.of(project_onto_simplex(state.f))
        tau = simplex_threshold(state.f_lin)  # [U]
        kept = state.f_lin > tau[:, None]  # [U, C]
        with jax.enable_x64(True):
            constant = [jnp.asarray(v, self.dtype) for v in ((kept / kept.sum(1, keepdims=True)).T, tau)]
            f_lin = jnp.asarray(state.f_lin)

        def score(columns: Block) -> Array:
            most = labels.likely[columns.candidates].max()
            return _simplex_scores(f, *constant, f_lin, labels, columns, most)

        return over_column_blocks(state, score, block, labels.fewest_first())
