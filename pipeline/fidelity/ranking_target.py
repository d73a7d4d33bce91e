"""What of a run's ranking real retraining can judge, and in which words."""

from collections.abc import Collection
from typing import Literal, NamedTuple

from linearize import CRITERIA as LOOK_AHEAD
from linearize import HALFWAY, Distance, LinearizeError, Reference
from linearize.criteria import get_criterion
from pipeline.config import RunConfig
from pipeline.errors import PipelineError
from pipeline.fidelity.changes import FROM_NETWORK
from pipeline.queries import Ranking

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

    Raises:
        PipelineError: the strategy ranks by a criterion that there is not, or cannot be loaded any more.

    """
    name, options = config.query.strategy, config.query.look_ahead
    ranking = config.query.resolved.strategy.ranking(options)
    if ranking is None:
        subject = f"predictions that flip, as {DEFAULT_CRITERION} would rank by: {name} does not look ahead"
        return RankingTarget(DEFAULT_CRITERION, "flips", "linearized", "linearized", "outputs", subject)
    if ranking.proxy is None:
        return _of_criterion(ranking)
    reference = _reference(ranking)
    subject = f"{_sizes('network')}, as {name} ranks by{_unlike(ranking.distance)}"
    if reference == "linearized" and ranking.proxy in FROM_NETWORK:
        subject += ", but from the linearised network (query.reference linearized)"
    proxy = ranking.proxy if ranking.proxy in proxies else "network"
    return RankingTarget(ranking.criterion, "size", proxy, reference, ranking.distance, subject)


def _reference(ranking: Ranking) -> Reference:
    try:
        return ranking.reference or get_criterion(ranking.criterion).default_reference
    except LinearizeError as error:
        raise PipelineError(f"the strategy's ranking: {error}") from error


def _of_criterion(ranking: Ranking) -> RankingTarget:
    criterion, reference, distance = ranking.criterion, _reference(ranking), ranking.distance
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
