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
from linearize.per_logit import PerLogit, as_rows
from linearize.probabilities import CrossEntropy, Name, Probabilities, check_probabilities, class_probabilities
from linearize.products import ntk_diagonal
from linearize.regression import (
    Rectangle,
    Regression,
    absolute_ridge,
    complete,
    factor,
    fit_bytes,
    fit_rectangle,
    nearest_labelled,
    rectangle_bytes,
)
from linearize.residuals import Residual, check_residual, cross_entropy, targets
from linearize.types import Float64, Progress


class Fitted(NamedTuple):
    """What a service holds, and how its kernel was computed."""

    data: Data
    held: Held
    diagnostics: Diagnostics
    plan: Plan


def plan_fit(
    network: Network, X: np.ndarray, pool: np.ndarray, options: KernelOptions, classes: int, *, full: bool
) -> Plan:
    """Plan the kernel that fitting takes, Θ over labelled ∪ pool, or without ``full`` its columns of labelled inputs.

    Raises:
        LinearizeError: no trainable parameter.
        MemoryBudgetError: the kernel does not fit.

    """
    rows = classes if options.per_logit else 1  # of Θ, an example
    L, U = len(X) * rows, len(pool) * rows
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
    probabilities: Name,
    residual: Residual,
    progress: Progress | None = None,
    on_plan: Callable[[Plan], None] | None = None,
) -> Fitted:
    """Linearise a network around its weights and finish its training on the labelled set.

    The arguments and errors are those of ``LookAhead.fit``.
    """
    check_inputs(X, Y, pool)
    check_residual(residual, check_probabilities(probabilities))
    names = check_ids(ids, len(pool))
    plan = plan_fit(network, X, pool, options, Y.shape[-1], full=full)
    if on_plan:
        on_plan(plan)
    x = np.concatenate([X, pool])
    f = network_outputs(*network, x, block=outputs_block(plan), precision=options.precision)
    f_X, f_U = f[: len(X)], f[len(X) :]
    if Y.shape != f_X.shape:
        raise LinearizeError(f"Y: expected one-hot {list(f_X.shape)}, got {list(Y.shape)}")
    meaning = cross_entropy(f_X, Y) if residual == "probabilities" else probabilities
    wanted = targets(f_X, Y, meaning)
    theta = compute_ntk(plan, network.variables, x, None if full else X, progress=progress)
    outputs = [as_rows(array) if options.per_logit else array for array in (f_X, f_U, wanted)]  # by Θ's rows
    L = len(outputs[0])
    XX, XU = theta[:L, :L], theta[:L, L:] if full else theta[L:].T
    ridge = absolute_ridge(XX, options.ridge)
    factored = factor(XX, XU, outputs[0], outputs[2], ridge=ridge)
    kappa = condition_number(XX + ridge * np.eye(L))
    prior = np.diag(theta)[L:].copy() if full else _prior(network, X, pool, np.diag(XX), XU, options)
    data = Data(X, Y, pool, names, np.asarray(f_U, np.float64), prior)
    rows: Regression | Rectangle
    if full:
        rows = complete(factored, theta[L:, L:], outputs[1], ridge=ridge)
    else:
        rows = fit_rectangle(factored, prior, outputs[1], ridge=ridge)
    state = PerLogit.of(rows, Y.shape[1], prior, ridge) if options.per_logit else rows
    diagnostics = _judge(_left(f_X, Y, meaning), state, kappa, ridge)
    return Fitted(data, Held(network, data, options, factored, rows, ridge, meaning), diagnostics, plan)


def _prior(
    network: Network, X: np.ndarray, pool: np.ndarray, labelled: Float64, XU: Float64, options: KernelOptions
) -> Float64:
    """Return Θ(x,x) of the pool without Θ(U,U), ``[U]``, as rounded as Θ(X,X) and Θ(X,U) are.

    Norms of gradients are exact whatever the precision.  Beside products of a lower one they would make copies of
    labelled inputs look distant and close images look like copies, so each is scaled by what the nearest labelled
    input's own entry Θ(l,l) is of its exact norm.
    """
    prior = ntk_diagonal(*network, pool, settings=options.settings)
    if options.precision in ("float32", "float64"):
        return prior
    exact = ntk_diagonal(*network, X, settings=options.settings)
    share = np.divide(labelled, exact, out=np.ones_like(exact), where=exact > 0)
    return np.asarray(prior * share[nearest_labelled(labelled, XU)])


def _left(f_X: np.ndarray, Y: np.ndarray, probabilities: Probabilities) -> Float64:
    """Return what training left, Y - f(X) or, with cross-entropy, Y - softmax(f(X)) ``[L, C]``."""
    return Y - (class_probabilities(f_X, probabilities) if isinstance(probabilities, CrossEntropy) else f_X)


def _judge(R: Float64, state: Regression | Rectangle | PerLogit, kappa: float, ridge: float) -> Diagnostics:
    return Diagnostics(
        residual_norm=float(np.linalg.norm(R)),
        remaining_change=float(np.linalg.norm(state.a, axis=1).mean()),
        condition_number=kappa,
        ridge=ridge,
        jitter=state.jitter,
        redundant_share=float(state.redundant.mean()),
    )
