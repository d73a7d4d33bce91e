r"""What convergence rate control costs: one factorisation for all groups, against an eigendecomposition of each.

    python benchmarks/crc.py                 # 500 labelled, groups of 10
    python benchmarks/crc.py --small         # a smoke run; its ratios mean nothing

Features are those of a network by size and decay of their spectrum, drawn by a seed; the score depends on nothing else.
Scores of both ways are compared. Times are processor seconds of this process, so that a busy machine changes less of
the ratios; the time of the shared factorisation is in ours, that of making the kernels in neither. With n labelled
samples and d features the groups' kernels have the rank d + 1, or n + G where that is less: both are measured, and a
kernel of all layers, which comes as a matrix. Where the rank is d + 1, eigenvalues of the smaller FᵀF are a second way
to begin afresh.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import click
import numpy as np
from scipy.linalg import eigvalsh

from linearize.bordered import Bordered

CLASSES, DECAY, SEED = 10, 6.0, 0
CANDIDATES = 10_000
AFRESH = 10
"""Groups that are decomposed one by one; the time of all is extrapolated from them."""


class Case(NamedTuple):
    """Sizes: labelled samples, features with the bias, samples of a group, groups."""

    """Sizes: labelled samples, features with the bias, samples of a group, groups."""

    labelled: int
    features: int
    group: int
    groups: int

    @property
    def index(self) -> int:
        """r = min(n, rank bound)."""
        return min(self.labelled + self.group, self.features)


CASES = (
    *(Case(500, 1000, G, CANDIDATES // G) for G in (1, 2, 5, 10, 20)),
    *(Case(500, 129, G, CANDIDATES // G) for G in (1, 2, 5, 10, 20)),
    Case(100, 129, 10, CANDIDATES // 10),
)


def timed(call: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    start = time.process_time()
    result = call()
    return result, time.process_time() - start


def features(case: Case) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(SEED)
    sizes = np.exp(-np.arange(case.features) / case.features * DECAY)
    F, groups = (
        np.maximum(rng.normal(size=(*shape, case.features)), 0) * sizes
        for shape in ((case.labelled,), (case.groups, case.group))
    )
    return F, groups


def measured(case: Case) -> str:
    F, groups = features(case)
    r = case.index

    shared, borders = CLASSES * F @ F.T, CLASSES * F @ groups.reshape(-1, case.features).T
    corners = CLASSES * groups @ groups.transpose(0, 2, 1)
    whole = [np.vstack([F, rows]) for rows in groups[:AFRESH]]
    kernels = [CLASSES * rows @ rows.T for rows in whole]
    smaller = [CLASSES * rows.T @ rows for rows in whole]

    def afresh(matrices: list[np.ndarray]) -> np.ndarray:
        return np.array([eigvalsh(matrix)[-r] for matrix in matrices])

    afresh(kernels[:1])  # LAPACK is loaded
    ours, seconds = timed(lambda: Bordered.of_features(F, groups, CLASSES).eigenvalue(r))
    _, by_kernel = timed(lambda: Bordered.of_kernel(shared, borders, corners).eigenvalue(r))
    theirs, each = timed(lambda: afresh(kernels))
    each *= case.groups / len(theirs)
    error = float(np.abs(ours[: len(theirs)] - theirs).max() / Bordered.of_features(F, groups, CLASSES).scale.max())
    small = "-"
    if case.features < case.labelled:
        _, gram = timed(lambda: afresh(smaller))
        small = f"{gram * case.groups / len(theirs) / seconds:.1f}"
    return (
        f"| {case.labelled} | {case.features} | {case.group} | {case.groups} | {each:.1f} | {seconds:.2f} | "
        f"{each / seconds:.0f} | {each / by_kernel:.0f} | {small} | {error:.0e} |"
    )


@click.command()
@click.option("--small", is_flag=True, help="Twenty labelled samples.")
def main(small: bool) -> None:
    """Print a table of seconds and ratios."""
    click.echo(
        "| labelled | rank bound | G | groups | each by itself, s | ours, s | ratio | ratio, from a kernel "
        "| ratio to FᵀF | error / λ_max |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for case in (Case(20, 30, 2, 12), Case(40, 30, 2, 12)) if small else CASES:
        click.echo(measured(case))


if __name__ == "__main__":
    main()
