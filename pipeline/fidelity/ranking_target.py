"""What of a run's ranking real retraining can judge, and in which words."""

from collections.abc import Collection
from typing import Literal, NamedTuple

from linearize import CRITERIA as LOOK_AHEAD
from linearize import HALFWAY, Distance, Reference
from linearize.criteria import get_criterion
from pipeline.config import RunConfig
from pipeline.queries import STRATEGIES
from pipeline.queries.infinite import INFINITE
from pipeline.queries.proxies import PROXIES as RANKED_BY_MLMOC

By = Literal["size", "flips", "direction", "training"]
DEFAULT_CRITERION = "mlmoc-flips"
SIZES, FLIPS = ("mlmoc", "emoc"), ("mlmoc-flips", "emoc-flips")
ORIGIN = {"network": "from the trained network", "linearized": "from the linearised network"}


class RankingTarget(NamedTuple):
    """What a run's predictions are judged by.

    Args:
        criterion: by which the strategy ranks, and candidates are spread; the default where it does not look ahead.
        by: ``size`` of the outputs' change or predictions that it ``flips``, where the strategy ranks by these;
            ``direction`` of the change where it ranks by something else that rests on it; ``training`` without a
            candidate where it ranks by f_lin.
        proxy: that predicts.
        reference: what the run measures change from.
        distance: between what it measures change.
        subject: in words.

    """

    criterion: str
    by: By
    proxy: str
    reference: Reference
    distance: Distance
    subject: str


def ranking_target(config: RunConfig, proxies: Collection[str]) -> RankingTarget:
    """Return what a run's predictions are judged by.

    Args:
        config: of the run.
        proxies: those that are compared.

    """
    name, options = config.query.strategy, config.query.look_ahead
    strategy = STRATEGIES.get(name)
    distance = options.distance or "outputs"
    if strategy in RANKED_BY_MLMOC:
        proxy = name if name in proxies else "network"
        return RankingTarget("mlmoc", "size", proxy, "network", "outputs", f"{_sizes('network')}, as {name} ranks by")
    if strategy in INFINITE:
        reference = options.reference or "network"
        subject = f"{_sizes('network')}, as {name} ranks by{_unlike(distance)}"
        if reference == "linearized" and name == "infinite":
            subject += ", but from the linearised network (query.reference linearized)"
        return RankingTarget("mlmoc", "size", name if name in proxies else "network", reference, distance, subject)
    criterion = getattr(strategy, "criterion", None)  # the same in every mode
    if criterion is None:
        subject = f"predictions that flip, as {DEFAULT_CRITERION} would rank by: {name} does not look ahead"
        return RankingTarget(DEFAULT_CRITERION, "flips", "linearized", "linearized", "outputs", subject)
    return _of_criterion(str(criterion), options.reference, distance)


def _of_criterion(criterion: str, wanted: Reference | None, distance: Distance) -> RankingTarget:
    reference = wanted or get_criterion(criterion).default_reference
    averaged = f" for one label, of which {criterion} takes the mean" if criterion.startswith("emoc") else ""
    if criterion in SIZES:
        subject = f"{_sizes(reference)}{averaged or f', as {criterion} ranks by'}{_unlike(distance)}"
        return RankingTarget(criterion, "size", reference, reference, distance, subject)
    if criterion in FLIPS:
        subject = f"predictions that flip {ORIGIN[reference]} on{averaged or f', as {criterion} ranks by'}"
        return RankingTarget(criterion, "flips", reference, reference, distance, subject)
    if criterion in HALFWAY:
        subject = f"{criterion} of the linearised network with that of one trained on without a candidate"
        return RankingTarget(criterion, "training", "linearized", reference, distance, subject)
    assert criterion in LOOK_AHEAD
    subject = (
        f"where outputs move for one label, on which {criterion} rests; it ranks by no output change, so its own order "
        "was not judged"
    )
    return RankingTarget(criterion, "direction", "linearized", reference, distance, subject)


def _sizes(reference: Reference) -> str:
    return f"sizes of the outputs' change {ORIGIN[reference]}"


def _unlike(distance: Distance) -> str:
    """Say where the run measures change otherwise than sizes are measured here."""
    return ", but between probabilities (query.distance simplex)" if distance == "simplex" else ""
