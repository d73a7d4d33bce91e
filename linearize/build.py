"""A trained network and its data in; the posterior, the calibrated loss and what to judge them by out."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import jax
import numpy as np

from common.losses import Loss, get_loss
from common.probabilities import negative_margin
from linearize.bounds import covariance_type, posterior_bytes
from linearize.criteria.pool_sum import PORTION
from linearize.diagnostics import Diagnostics
from linearize.engine.plan import Plan
from linearize.engine.work import Size
from linearize.errors import LinearizeError
from linearize.inputs import Data, Network, check_ids, check_inputs
from linearize.kernel import Columns, compute_ntk, network_outputs, outputs_block, plan_ntk
from linearize.options import KernelOptions
from linearize.posterior import (
    Dense,
    LabelledFactor,
    Lazy,
    LazyKernel,
    Posterior,
    References,
    Sampled,
    absolute_ridge,
)
from linearize.posterior.base import REDUNDANT, REDUNDANT_FLOAT32
from linearize.posterior.factor import nearest_labelled
from linearize.posterior.lazy import Column
from linearize.posterior.sampled import Rectangle
from linearize.products import ntk_diagonal, ntk_vector_product
from linearize.types import Progress

NARROW = 128
"""Examples of a block on a CPU where columns are few: of large ones most would be padding."""
KEPT_COLUMNS = 256
"""Columns Θ(U,x*) that are kept: a greedy query builds those that the answers to it will take."""


class Sample(NamedTuple):
    """Points of the pool that stand for it in sums over it.

    Args:
        references: how many are drawn.
        seed: of these alone.

    """

    references: int
    seed: int = 0


class Built(NamedTuple):
    """What a service begins with, and how its kernel was computed."""

    data: Data
    loss: Loss
    posterior: Posterior
    diagnostics: Diagnostics
    plan: Plan


def plan_build(network: Network, data: Data, options: KernelOptions, *, full: bool, references: int = 0) -> Plan:
    """Plan Θ over labelled ∪ pool, or without ``full`` its columns of labelled inputs and references.

    Args:
        network: what is linearised.
        data: on what.
        options: how the kernel is computed.
        full: whether Θ(U,U) is wanted too.
        references: points of the pool that stand for it, where it is not.

    Raises:
        LinearizeError: no trainable parameter.
        MemoryBudgetError: the kernel does not fit.

    """
    k = options.rows(data.Y.shape[1])
    afterwards = posterior_bytes(
        len(data.X) * k,
        len(data.pool) * k,
        options.precision,
        full=full,
        references=references and references + PORTION,
    )
    x = np.concatenate([data.X, data.pool])
    if references and options.block is None and jax.default_backend() == "cpu":
        options = replace(options, block=NARROW)
    return plan_ntk(*network, x, None if full else x[: len(data.X) + references], options, afterwards=afterwards)


def build(
    network: Network,
    X: np.ndarray,
    Y: np.ndarray,
    pool: np.ndarray,
    ids: np.ndarray | None,
    options: KernelOptions,
    loss: str | Loss,
    *,
    full: bool,
    penalised: bool = False,
    sample: Sample | None = None,
    progress: Progress | None = None,
    on_plan: Callable[[Plan], None] | None = None,
) -> Built:
    """Linearise a network around its weights and finish its training on the labelled set.

    Args:
        network: what is linearised.
        X: as of ``LookAhead.fit``, like all that follow.
        Y: one-hot ``[L, C]``.
        pool: ``[U, ...]``.
        ids: ``[U]``.
        options: how the kernel is computed.
        loss: that trained the network.
        full: whether to compute Θ(U,U).
        penalised: whether the ridge's penalty was part of what training minimised.
        sample: of the pool, in the place of Θ(U,U).
        progress: called meanwhile.
        on_plan: called before.

    Raises:
        LinearizeError: as ``LookAhead.fit``.

    """
    check_inputs(X, Y, pool)
    loss = find_loss(loss)
    data = Data(X, Y, pool, check_ids(ids, len(pool)), np.zeros((len(pool), Y.shape[1])))
    sampled = sample is not None and options.rows(Y.shape[1]) == 1 and sample.references < len(pool)
    full &= not sampled
    plan = plan_build(network, data, options, full=full, references=sample.references if sample and sampled else 0)
    if on_plan:
        on_plan(plan)
    x = np.concatenate([X, pool])
    f = network_outputs(*network, x, block=outputs_block(plan), precision=options.precision)
    f_X, f_U = f[: len(X)], np.asarray(f[len(X) :], np.float64)
    if Y.shape != f_X.shape:
        raise LinearizeError(f"Y: expected one-hot {list(f_X.shape)}, got {list(Y.shape)}")
    loss = loss.calibrated(f_X, Y)
    references = draw(loss, f_U, sample) if sample and sampled else None
    columns = None if references is None else Columns(plan, network.variables, x)
    if columns is None or references is None:
        theta = compute_ntk(plan, network.variables, x, None if full else X, progress=progress)
    else:
        theta = columns(np.concatenate([X, pool[references.at]]), progress)
    L = len(X) * options.rows(Y.shape[1])
    XX, XU = theta[:L, :L], theta[:L, L:] if full else theta[L:, :L].T
    target = np.asarray(f_X, np.float64) if penalised else loss.target(f_X, Y)
    labelled = LabelledFactor.of(XX, XU, f_X, target, ridge=absolute_ridge(XX, options.ridge))
    posterior: Posterior
    if full:
        posterior = Dense.of_factor(labelled, theta[L:, L:], f_U, dtype=covariance_type(options.precision))
    else:
        prior = _prior(network, X, pool, np.diag(XX), XU, options)
        epsilon = REDUNDANT if options.precision == "float64" else REDUNDANT_FLOAT32
        if columns is None or references is None:
            kernel = LazyKernel(prior, column_of(network, pool, options, Y.shape[1]))
            posterior = Lazy.init(labelled, kernel, f_U, redundant=epsilon)
        else:
            rows, rest = theta[L:, L:].T, _rectangle(columns, pool, L)
            posterior = Sampled.init(labelled, prior, f_U, references, rows, rest, redundant=epsilon,
                                     dtype=covariance_type(options.precision))  # fmt: skip
    diagnostics = Diagnostics(
        residual_norm=float(np.linalg.norm(loss.residual(f_X, Y))),
        remaining_change=float(np.linalg.norm(posterior.a, axis=1).mean()),
        condition_number=labelled.condition_number,
        ridge=labelled.ridge,
        jitter=labelled.jitter,
        redundant_share=float(posterior.redundant.mean()),
    )
    return Built(data._replace(f_U=f_U), loss, posterior, diagnostics, plan)


def find_loss(loss: str | Loss) -> Loss:
    """Return a loss given by name or as it is.

    Args:
        loss: its name, or the record.

    Raises:
        LinearizeError: there is none of that name.

    """
    try:
        return get_loss(loss) if isinstance(loss, str) else loss
    except ValueError as error:
        raise LinearizeError(str(error)) from error


def column_of(network: Network, pool: np.ndarray, options: KernelOptions, classes: int) -> Column:
    """Return what maps a row of the pool to Θ(U,row): a backward pass, then a tangent pass over the pool.

    Args:
        network: what was linearised.
        pool: ``[U, ...]``.
        options: how the kernel is computed.
        classes: C.

    """
    k = options.rows(classes)

    @lru_cache(maxsize=KEPT_COLUMNS)
    def column(row: int) -> np.ndarray:
        candidate, which = divmod(row, k)
        one = pool[candidate : candidate + 1]
        return ntk_vector_product(*network, pool, np.eye(k)[which], one, options=options)

    return column


def draw(loss: Loss, f: np.ndarray, sample: Sample) -> References:
    """Draw the points that stand for the pool, by how open the network leaves their decision.

    Args:
        loss: that trained the network, calibrated.
        f: outputs on the pool ``[U, C]``.
        sample: how many, and their seed.

    """
    return References.draw(1 + negative_margin(loss.probabilities.of(f)), sample.references, sample.seed)


def rectangle_of(network: Network, pool: np.ndarray, plan: Plan) -> Rectangle:
    """Return what maps some of the pool to their rows of Θ(U,U).

    Args:
        network: what was linearised.
        pool: ``[U, ...]``.
        plan: how the service's kernel is computed.

    """
    work = replace(plan.work, size=Size(len(pool), PORTION))
    return _rectangle(Columns(replace(plan, work=work), network.variables, pool), pool, 0)


def _rectangle(columns: Columns, pool: np.ndarray, first: int) -> Rectangle:
    """Rows of Θ(U,U) from columns of inputs that the pool is among, from ``first`` on."""
    return lambda candidates: columns(pool[candidates])[first:].T


def with_covariance(network: Network, data: Data, options: KernelOptions, posterior: Posterior) -> Dense:
    """Compute Θ(U,U) and take all answers into account again.

    Args:
        network: what was linearised.
        data: on what.
        options: how the kernel is computed.
        posterior: without its covariance.

    Raises:
        MemoryBudgetError: the kernel does not fit.

    """
    L, U = posterior.labelled.Phi.shape
    afterwards = posterior_bytes(L, U, options.precision, full=True)
    plan = plan_ntk(*network, data.pool, options=options, afterwards=afterwards)
    UU = compute_ntk(plan, network.variables, data.pool)
    dense = Dense.of_factor(posterior.labelled, UU, data.f_U, dtype=covariance_type(options.precision))
    for answer in posterior.answers:
        dense = dense.condition(answer.candidate, answer.y, donate=True)
    for candidate in np.flatnonzero(posterior.answered & ~dense.answered):
        dense = dense.without(int(candidate), donate=True)
    return dense


def _prior(
    network: Network, X: np.ndarray, pool: np.ndarray, labelled: np.ndarray, XU: np.ndarray, options: KernelOptions
) -> np.ndarray:
    """Return Θ(x,x) of the pool without Θ(U,U), ``[U k]``, as rounded as Θ(X,X) and Θ(X,U) are.

    Norms of gradients are exact whatever the precision.  Beside products of a lower one they would make copies of
    labelled inputs look distant and close images look like copies, so each is scaled by what the nearest labelled
    input's own entry Θ(l,l) is of its exact norm.
    """
    prior = ntk_diagonal(*network, pool, options=options)
    if options.precision in ("float32", "float64"):
        return prior
    exact = ntk_diagonal(*network, X, options=options)
    share = np.divide(labelled, exact, out=np.ones_like(exact), where=exact > 0)
    return np.asarray(prior * share[nearest_labelled(labelled, XU)])
