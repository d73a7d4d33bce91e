"""What tells a user whether to trust look-ahead scores."""

from dataclasses import asdict, dataclass

import numpy as np

from linearize.criteria import CRITERIA, Reference
from linearize.regression import Regression
from linearize.types import Float64

COMMON_SHARE = 0.9
"""With so much of a score the same for every candidate, what is left to tell them apart is little more than noise."""


@dataclass(frozen=True)
class Diagnostics:
    """What tells a user whether to trust this cycle's scores.

    Args:
        residual_norm: ‖R‖_F; look-ahead theory assumes it is about 0.
        remaining_change: mean of ‖a(x)‖ over the pool, what finishing training would still move.
        condition_number: κ(K).
        ridge: λ, absolute.
        jitter: what the factorisation had to add to K's diagonal, absolute.
        redundant_share: share of candidates that tell nothing new.

    """

    residual_norm: float
    remaining_change: float
    condition_number: float
    ridge: float
    jitter: float
    redundant_share: float

    def to_json(self) -> dict[str, float | None]:
        """Return plain values; an infinite condition number becomes None, since JSON has no infinity."""
        return {name: value if np.isfinite(value) else None for name, value in asdict(self).items()}


@dataclass(frozen=True)
class ScoreDiagnostics:
    """What tells a user whether to trust one criterion's scores.

    Args:
        spread: their standard deviation relative to their mean, over the candidates that are left.
        common_share: Σ_x ‖a(x)‖ / (Σ_x ‖a(x)‖ + mean of Σ_x ‖q r‖), how much of a score is the same for all candidates
            because the network has not converged; 0 for criteria that do not contain it.
        dominated: whether that is so much that the scores should not be trusted.

    """

    spread: float
    common_share: float
    dominated: bool


def judge_scores(scores: Float64, criterion: str, reference: Reference, state: Regression | None) -> ScoreDiagnostics:
    """Judge the scores of a criterion.

    Source: the triangle inequality on eq. 13 of the look-ahead paper, |A(x') - Σ‖a‖| ≤ Σ_x ‖q(x,x') r(x')‖.

    Args:
        scores: ``[U]``; those that are not finite are left out.
        criterion: their criterion's name.
        reference: what change was measured from.
        state: the regression that was scored; half-way criteria need none.

    """
    finite = scores[np.isfinite(scores)]
    mean = float(finite.mean()) if len(finite) else 0.0
    spread = float(finite.std() / abs(mean)) if mean else 0.0
    share = 0.0
    if state is not None and criterion in ("mlmoc", "emoc") and reference == "network":
        common = float(np.linalg.norm(state.a, axis=1).sum())
        own = float(CRITERIA[criterion].scores(state, "linearized").mean())
        share = common / (common + own) if common else 0.0
    return ScoreDiagnostics(spread, share, share > COMMON_SHARE)
