"""A trained network and its data in, the linearised network and what to judge it by out."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from linearize.diagnostics import Diagnostics
from linearize.engine.prepare import Plan
from linearize.errors import LinearizeError
from linearize.held import Held
from linearize.inputs import Data, Network, check_ids, check_inputs
from linearize.kernel import compute_ntk, network_outputs, outputs_block, plan_ntk
from linearize.linalg import condition_number
from linearize.options import KernelOptions
from linearize.products import ntk_diagonal
from linearize.regression import (
    Rectangle,
    Regression,
    complete,
    factor,
    fit_bytes,
    fit_rectangle,
    rectangle_bytes,
)
from linearize.types import Float64, Progress


class Fitted(NamedTuple):
    """What a service holds, and how its kernel was computed."""

    data: Data
    held: Held
    diagnostics: Diagnostics
    plan: Plan


def plan_fit(network: Network, X: np.ndarray, pool: np.ndarray, options: KernelOptions, *, full: bool) -> Plan:
    """Plan the kernel that fitting takes, Θ over labelled ∪ pool, or without ``full`` its columns of labelled inputs.

    Raises:
        LinearizeError: no trainable parameter.
        MemoryBudgetError: the kernel does not fit.

    """
    L, U = len(X), len(pool)
    afterwards = fit_bytes(L, U) if full else rectangle_bytes(L, U)
    x = np.concatenate([X, pool])
    return plan_ntk(*network, x, None if full else X, options.settings, afterwards=afterwards)


def fit_network(
    network: Network,
    X: np.ndarray,
    Y: np.ndarray,
    pool: np.ndarray,
    ids: np.ndarray | None,
    options: KernelOptions,
    *,
    full: bool,
    progress: Progress | None = None,
    on_plan: Callable[[Plan], None] | None = None,
) -> Fitted:
    """Linearise a network around its weights and finish its training on the labelled set.

    The arguments and errors are those of ``LookAhead.fit``.
    """
    check_inputs(X, Y, pool)
    names, L = check_ids(ids, len(pool)), len(X)
    plan = plan_fit(network, X, pool, options, full=full)
    if on_plan:
        on_plan(plan)
    x = np.concatenate([X, pool])
    f = network_outputs(*network, x, block=outputs_block(plan), precision=options.precision)
    if Y.shape != f[:L].shape:
        raise LinearizeError(f"Y: expected one-hot {list(f[:L].shape)}, got {list(Y.shape)}")
    theta = compute_ntk(plan, network.variables, x, None if full else X, progress=progress)
    XX, XU = theta[:L, :L], theta[:L, L:] if full else theta[L:].T
    ridge = options.ridge * float(np.mean(np.diag(XX)))
    factored = factor(XX, XU, f[:L], Y, ridge=ridge)
    kappa = condition_number(XX + ridge * np.eye(L))
    prior = np.diag(theta)[L:].copy() if full else ntk_diagonal(*network, pool, settings=options.settings)
    data = Data(X, Y, pool, names, np.asarray(f[L:], np.float64), prior)
    state: Regression | Rectangle
    if full:
        state = complete(factored, theta[L:, L:], f[L:], ridge=ridge)
    else:
        state = fit_rectangle(factored, prior, f[L:], ridge=ridge)
    diagnostics = _judge(Y - f[:L], state, kappa, ridge)
    return Fitted(data, Held(network, data, options, factored, state, ridge), diagnostics, plan)


def _judge(R: Float64, state: Regression | Rectangle, kappa: float, ridge: float) -> Diagnostics:
    return Diagnostics(
        residual_norm=float(np.linalg.norm(R)),
        remaining_change=float(np.linalg.norm(state.a, axis=1).mean()),
        condition_number=kappa,
        ridge=ridge,
        jitter=state.jitter,
        redundant_share=float(state.redundant.mean()),
    )
