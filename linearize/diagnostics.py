"""What tells a user whether to trust look-ahead scores."""

from dataclasses import asdict, dataclass

import numpy as np

from common.losses import Loss
from linearize.criteria import Criterion, Measure
from linearize.posterior import Posterior

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
        common_share: of mlmoc, Σ_x ‖a(x)‖ / (Σ_x ‖a(x)‖ + mean of Σ_x ‖q r‖), how much of a score is the same for all
            candidates because the network has not converged; 0 for criteria that do not contain it.
        dominated: whether that is so much that the scores should not be trusted.

    """

    spread: float
    common_share: float
    dominated: bool


def judge_scores(scores: np.ndarray, common: float = 0.0, own: np.ndarray | None = None) -> ScoreDiagnostics:
    """Judge the scores of a criterion.

    Source: the triangle inequality on eq. 13 of Mohamadi, Bae & Sutherland 2022, |A(x') - Σ‖a‖| ≤ Σ_x ‖q(x,x') r(x')‖.

    Args:
        scores: ``[U]``; those that are not finite are left out.
        common: what of a score finishing training alone is worth, the same for every candidate.
        own: what each candidate's label is worth, the scores with reference ``linearized`` ``[U]``; for criteria that
            do not contain the former neither is needed.

    """
    finite = scores[np.isfinite(scores)]
    mean = float(finite.mean()) if len(finite) else 0.0
    spread = float(finite.std() / abs(mean)) if mean else 0.0
    gains = own[np.isfinite(own)] if own is not None else np.zeros(0)
    total = common + (float(gains.mean()) if len(gains) else 0.0)
    share = common / total if common else 0.0
    return ScoreDiagnostics(spread, share, share > COMMON_SHARE)


def judge_criterion(
    criterion: Criterion,
    posterior: Posterior,
    loss: Loss,
    measure: Measure | None = None,
    scores: np.ndarray | None = None,
) -> ScoreDiagnostics:
    """Judge a criterion's scores of a posterior.

    Args:
        criterion: which.
        posterior: the linearised network.
        loss: that trained the network, calibrated.
        measure: how change is measured.
        scores: the scores ``[U]``, where they are known already.

    """
    if scores is None:
        scores = criterion.scores(posterior, loss, measure)
    request = criterion.request(loss, measure)
    if criterion.finishing is None or request.reference == "linearized":
        return judge_scores(scores)
    own = criterion.scores(posterior, loss, Measure("linearized", request.distance))
    return judge_scores(scores, criterion.finishing(posterior, request), own)
