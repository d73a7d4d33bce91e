"""What dynamicAL's theory says of a kernel and labels: bound, MMD and theorems of labelled sets, τ over random queries.

The kernel is that of a wide network, which does not move in training.  The paper does not say which f its G_MSE has,
so both are given: the untrained ``network``'s, and ``regression``, Θ(·,X)Θ(X,X)⁻¹Y, which is Y on the labelled set and
leaves the queried part of G_MSE alone.
"""

from collections.abc import Callable, Iterator

import numpy as np
from scipy.stats import kendalltau

from linearize.alignment import (
    Bounded,
    Spectrum,
    alignment,
    bound_by_alignment,
    convergence,
    generalisation_bound,
    maximum_mean_discrepancy,
    squared_error_dynamics,
)
from linearize.linalg import cholesky, solve_lower
from linearize.types import Float64
from pipeline.analyse.rows import Row, values

STEPS = (1, 10, 100)
"""t at which theorem 1 is checked; η is 1/λmax, the largest for which it is stated."""
TRUE, PREDICTED = "true", "predicted"
NETWORK, REGRESSION = "network", "regression"


def labelled_rows(theta: Float64, Y: np.ndarray, m: int, cycle: int) -> list[Row]:
    """Measure a labelled set: alignment A, bound B, its MMD from the initial set, and both theorems.

    Source: Wang et al. 2022, figs. 1 and 9, table 10, theorems 1 and 2.

    Args:
        theta: Θ(S, S) ``[n, n]``, the initial set first.
        Y: one-hot ``[n, K]``.
        m: samples of the initial set.
        cycle: whose labelled set it is.

    Raises:
        SingularKernelError: Θ cannot be factored.

    """
    spectrum = Spectrum.of(theta, Y)
    least, largest = float(spectrum.eigenvalues[0]), float(spectrum.eigenvalues[-1])
    B = generalisation_bound(theta, Y)
    distance = maximum_mean_discrepancy(theta, m) if m > 1 else float("nan")
    found = {
        "labels": float(len(Y)),
        "least eigenvalue": least,
        "largest eigenvalue": largest,
        "alignment": alignment(theta, Y),
        "bound": B,
        "jitter": cholesky(theta).jitter,
        "MMD": distance,
        "MMD / bound": distance / B,
    }
    rows = [Row("labelled", name, value, cycle=cycle) for name, value in found.items()]
    for t in STEPS:
        checked = convergence(spectrum, 1 / largest, t)
        rows += _checked(Row("theorem 1", "", 0.0, cycle=cycle, steps=t), checked)
    rows += _checked(Row("theorem 2", "", 0.0, cycle=cycle), bound_by_alignment(spectrum, B))
    return rows + _checked(Row("theorem 2, tight", "", 0.0, cycle=cycle), bound_by_alignment(spectrum, B, tight=True))


def _checked(row: Row, bounded: Bounded) -> list[Row]:
    names = {"lower bound": bounded.low, "value": bounded.value, "upper bound": bounded.high, "holds": bounded.holds}
    return [row._replace(quantity=name, value=float(value)) for name, value in names.items()]


def draw_rows(
    theta: Float64,
    f: np.ndarray,
    Y: np.ndarray,
    true: np.ndarray | None,
    queries: list[np.ndarray],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Row]:
    """Compare training dynamics with alignment and bound over random queries Q, by Kendall's τ.

    G_MSE(S∪Q) has the labels that are named; A and B of S∪Q have the true ones, where these are known, else those that
    the regression predicts.

    Source: Wang et al. 2022, figs. 2, 6 and 7, appendix D.2.

    Args:
        theta: Θ over S ∪ pool ``[L + M, L + M]``.
        f: the network's outputs ``[L + M, K]``.
        Y: one-hot, of S ``[L, K]``.
        true: one-hot, of the pool ``[M, K]``; None where nobody knows.
        queries: positions in the pool ``[b]``.
        progress: called with ``(done, total)``.

    Raises:
        SingularKernelError: a kernel cannot be factored.

    """
    L, K = Y.shape
    F = cholesky(theta[:L, :L]).F
    regressed = solve_lower(F, theta[:L]).T @ solve_lower(F, Y)  # [L + M, K]
    regressed[:L] = Y
    outputs = {NETWORK: f, REGRESSION: regressed}
    labels = {PREDICTED: np.eye(K)[regressed[L:].argmax(1)]} | ({} if true is None else {TRUE: true})
    reference = PREDICTED if true is None else TRUE
    rows = []
    for draw, Q in enumerate(queries):
        at = np.concatenate([np.arange(L), L + Q])
        part, targets = theta[np.ix_(at, at)], {name: np.concatenate([Y, y[Q]]) for name, y in labels.items()}
        own = Row("draws", "alignment", alignment(part, targets[reference]), batch=len(Q), draw=draw, labels=reference)
        rows += [own, own._replace(quantity="bound", value=generalisation_bound(part, targets[reference]))]
        for name, g in outputs.items():
            for whose, target in targets.items():
                value = squared_error_dynamics(part, g[at], target)
                rows.append(own._replace(quantity="G_MSE", value=value, outputs=name, labels=whose))
        progress(draw + 1, len(queries))
    return [*rows, *_correlations(rows, outputs, labels, len(queries[0]))]


def _correlations(
    rows: list[Row], outputs: dict[str, np.ndarray], labels: dict[str, np.ndarray], b: int
) -> Iterator[Row]:
    """τ between G_MSE of every f and labels and, over the same draws, A and B."""
    for against in ("alignment", "bound"):
        other = values(rows, against)
        for name in outputs:
            for whose in labels:
                dynamics = values(rows, "G_MSE", outputs=name, labels=whose)
                tau = float(kendalltau(dynamics, other).statistic) if len(other) > 1 else float("nan")
                yield Row("correlation", f"tau of G_MSE and {against}", tau, batch=b, outputs=name, labels=whose)
