"""How far to trust a cycle's scores: the figures beside them, and what they warn of."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from common.reading import read_json
from linearize.diagnostics import COMMON_SHARE
from pipeline.queries import QueryState, QueryStrategy

DIAGNOSTICS = "diagnostics.json"

UNIT_ROUNDOFF = {"float64": 2.0**-53}
"""Of a precision in which Θ is computed; of every other, float32's."""
FLOAT32 = 2.0**-24

ROUNDING = 1.0
"""A condition number times the unit roundoff above which scores are rounding.  Measured on kernels of 100 labelled and
300 candidates whose entries were off by float32's rounding: at 1 the scores' rank correlation with exact ones was 0.97
or more, at 8 less than 0.4 (mlmoc, mlmoc-flips) and 0.8 (margin-lin)."""

SETTLED = 0.01
"""The share Σ|2 g·G| / Σ‖g‖² of dynamicAL's scores below which the labelled set decides none of them.  Measured on
digits: of the 20 highest of 1,000 candidates, 20 were the same without 2 g·G at 0.01 and below, 16 or 17 at 0.07, and 0
to 12 at 1 and above."""
NEAR = 0.01
"""Share of the labelled set's own smallest eigenvalue by which groups must differ from it to mean anything."""
MOST = 0.5
"""A share of redundant candidates that is worth a warning."""


def figures_of(strategy: QueryStrategy, state: QueryState, scores: np.ndarray) -> dict[str, Any]:
    """Return the figures by which a cycle's scores can be judged; of a look-ahead, its kernel's too.

    What is common to its scores, a strategy knows alone: it says so in its selection's figures.

    Args:
        strategy: who ranked.
        state: what it was shown.
        scores: of the candidates ``[U]``.

    """
    mean = float(scores.mean())
    figures: dict[str, Any] = {
        "candidates": len(scores),
        "score_mean": mean,
        "score_spread": float(scores.std() / abs(mean)) if mean else None,
    }
    if not strategy.needs_kernel:
        return figures
    service = state.look_ahead
    kappa, plan = service.diagnostics.condition_number, service.plan
    rounding = kappa * UNIT_ROUNDOFF.get(service.options.precision, FLOAT32)
    figures |= service.diagnostics.to_json()
    figures |= {"rounding": rounding if np.isfinite(rounding) else None}
    figures |= {"kernel_bytes": plan.estimate, "kernel_passes": len(plan.work.chunks)}
    return figures


def _of_groups(diagnostics: dict[str, Any]) -> Iterator[str]:
    """Yield what should make a user doubt scores of groups: that they are rounding, or all alike."""
    if diagnostics.get("rounding_share", 0) > MOST:
        yield (
            f"{diagnostics['rounding_share']:.0%} of the groups score less than {diagnostics['rounding_score']:.1g}, "
            "which is rounding of the kernel's entries: their order is chance (crc reads the last layer more exactly "
            "than crc-all; --set kernel.precision=float64 makes the latter exact)"
        )
        return
    own, least = diagnostics.get("labelled_eigenvalue"), diagnostics.get("group_score_least")
    below_rank = diagnostics.get("eigenvalue") != diagnostics.get("rank_bound")  # beyond it a group adds
    if own and least is not None and below_rank and least > (1 - NEAR) * own:
        yield (
            f"the scores of all {diagnostics['groups']:.0f} groups lie within {NEAR:.0%} of the {own:.2g} that the "
            "labelled set alone has: it decides how fast the slowest direction is learned, and the query is nearly as "
            "good as random"
        )


def read_diagnostics(directory: Path) -> dict[str, Any]:
    """Return the figures by which this cycle's scores can be judged."""
    return dict(read_json(directory / DIAGNOSTICS))


def cautions(diagnostics: dict[str, Any]) -> Iterator[str]:
    """Yield, in one line each, what should make a user doubt this cycle's scores."""
    infinite = bool(diagnostics.get("infinite_width"))
    if diagnostics.get("jitter"):
        remedy = "a ridge" if infinite else "a wider network or a ridge"
        yield (
            f"the labelled kernel was singular and took a jitter of {diagnostics['jitter']:.2g} on its diagonal: "
            f"{remedy} (--set kernel.ridge=1e-6) makes look-ahead scores more reliable"
        )
    elif "jitter" in diagnostics and diagnostics.get("condition_number") is None:  # infinite; JSON has no word for it
        remedy = "a ridge (--set kernel.ridge=1e-6)"
        if not infinite:
            remedy = f"a wider network, {remedy} or --set kernel.precision=float64"
        yield (
            "the labelled kernel is singular to rounding (an infinite condition number), and so are look-ahead scores: "
            f"{remedy} makes them reliable"
        )
    elif (diagnostics.get("rounding") or 0) > ROUNDING:
        yield (
            f"the labelled kernel's condition number of {diagnostics['condition_number']:.1g} makes look-ahead scores "
            "rounding: a ridge (--set kernel.ridge=1e-6) or --set kernel.precision=float64 makes them reliable"
        )
    if (diagnostics.get("redundant_share") or 0) > MOST:
        remedy = "they are copies, or the kernel of infinite width cannot tell them apart"
        if not infinite:
            remedy = "a wider network tells more images apart, unless they are copies"
        yield (
            f"{diagnostics['redundant_share']:.0%} of the candidates tell the kernel nothing that is not labelled "
            f"already (u ≈ 0): {remedy}"
        )
    if diagnostics.get("dynamics_share", 1.0) < SETTLED:
        yield (
            f"2 g·G is {diagnostics['dynamics_share']:.2g} of ‖g‖² over the candidates (‖G‖ = "
            f"{diagnostics['gradient_norm']:.2g}): the network has converged on the labelled set, so γ hardly matters: "
            "dynamical asks as dynamical-0 does, by gradient length, and dynamical-inf by what training happened to "
            "leave"
        )
    yield from _of_groups(diagnostics)
    if (diagnostics.get("common_share") or 0) > COMMON_SHARE:
        yield (
            f"{diagnostics['common_share']:.0%} of the scores is what finishing training alone would change, the same "
            "for every candidate: train to convergence (more --epochs) or measure without it (--reference linearized; "
            "instead of ntk-no-block, which does not know it, mlmoc)"
        )
    if diagnostics["score_spread"] in (None, 0.0) and diagnostics["candidates"] > 1:
        yield "every candidate has the same score, so the query is as good as random"
