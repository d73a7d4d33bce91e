"""What of a run's ranking real retraining can judge, and in which words."""

from collections.abc import Collection
from typing import Any, NamedTuple

from linearize import Criterion, LinearizeError, Measure, Reference
from linearize.criteria import get_criterion
from linearize.criteria.base import RankingTarget as By
from pipeline.config import RunConfig
from pipeline.errors import PipelineError
from pipeline.fidelity.changes import FROM_NETWORK
from pipeline.queries import Ranking

DEFAULT_CRITERION = "mlmoc-flips"
ORIGIN = {"network": "from the trained network", "linearized": "from the linearised network"}


class RankingTarget(NamedTuple):
    """What a run's predictions are judged by.

    Args:
        criterion: by which the strategy ranks, and candidates are spread; the default where it does not look ahead.
        by: the criterion's own ranking target, see ``linearize.criteria.base``.
        proxy: that predicts.
        measure: how the run measures change.
        subject: in words.

    """

    criterion: Criterion
    by: By
    proxy: str
    measure: Measure
    subject: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        plain = {name: value for name, value in self._asdict().items() if name != "measure"}
        return plain | {"criterion": self.criterion.name} | self.measure._asdict()


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
        return RankingTarget(get_criterion(DEFAULT_CRITERION), "flips", "linearized", Measure("linearized"), subject)
    criterion = _criterion(ranking)
    measure = ranking.measure._replace(reference=ranking.measure.reference or criterion.reference)
    if ranking.proxy is None:
        return _of_criterion(criterion, measure)
    subject = f"{_sizes('network')}, as {name} ranks by{_unlike(measure)}"
    if measure.reference == "linearized" and ranking.proxy in FROM_NETWORK:
        subject += ", but from the linearised network (query.reference linearized)"
    proxy = ranking.proxy if ranking.proxy in proxies else "network"
    return RankingTarget(criterion, "size", proxy, measure, subject)


def _criterion(ranking: Ranking) -> Criterion:
    try:
        return get_criterion(ranking.criterion)
    except LinearizeError as error:
        raise PipelineError(f"the strategy's ranking: {error}") from error


def _of_criterion(criterion: Criterion, measure: Measure) -> RankingTarget:
    name, by, reference = criterion.name, criterion.ranking_target, measure.reference or criterion.reference
    means = f" for one label, of which {name} takes the mean" if criterion.averages else f", as {name} ranks by"
    subject, proxy = {
        "size": (f"{_sizes(reference)}{means}{_unlike(measure)}", str(reference)),
        "flips": (f"predictions that flip {ORIGIN[reference]} on{means}", str(reference)),
        "training": (f"{name} of the linearised network with that of one trained on without a candidate", "linearized"),
        "direction": (
            f"where outputs move for one label, on which {name} rests; it ranks by no output change, so its own order "
            "was not judged",
            "linearized",
        ),
    }[by]
    return RankingTarget(criterion, by, proxy, measure, subject)


def _sizes(reference: Reference) -> str:
    return f"sizes of the outputs' change {ORIGIN[reference]}"


def _unlike(measure: Measure) -> str:
    """Say where the run measures change otherwise than sizes are measured here."""
    return ", but between probabilities (query.distance simplex)" if measure.distance == "simplex" else ""
