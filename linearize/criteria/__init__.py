"""Look-ahead criteria by name; one criterion, or one family, a file."""

from common.naming import one_of
from linearize.criteria.base import DISTANCES, REFERENCES, Criterion, Distance, Measure, Reference, Request
from linearize.criteria.eer import EER
from linearize.criteria.emoc import EMOC
from linearize.criteria.emoc_flips import EMOC_FLIPS
from linearize.criteria.expected_accuracy import EXPECTED_ACCURACY
from linearize.criteria.linearized_uncertainty import ENTROPY_LIN, LEAST_CONFIDENCE_LIN, MARGIN_LIN
from linearize.criteria.margin_variance import MARGIN_INFLUENCE, MARGIN_VARIANCE
from linearize.criteria.mlmoc import MLMOC
from linearize.criteria.mlmoc_flips import MLMOC_FLIPS
from linearize.errors import LinearizeError

CRITERIA: dict[str, Criterion] = {
    criterion.name: criterion
    for criterion in (
        MLMOC,
        MLMOC_FLIPS,
        EMOC,
        EER,
        EMOC_FLIPS,
        EXPECTED_ACCURACY,
        MARGIN_VARIANCE,
        MARGIN_INFLUENCE,
        MARGIN_LIN,
        ENTROPY_LIN,
        LEAST_CONFIDENCE_LIN,
    )
}

__all__ = [
    "CRITERIA",
    "DISTANCES",
    "REFERENCES",
    "Criterion",
    "Distance",
    "Measure",
    "Reference",
    "Request",
    "get_criterion",
]


def get_criterion(name: str | Criterion) -> Criterion:
    """Look a criterion up by name.

    Args:
        name: a key of ``CRITERIA``; a criterion of somebody's own is itself.

    Raises:
        LinearizeError: the name is not registered; the message lists those that are.

    """
    if isinstance(name, Criterion):
        return name
    if name not in CRITERIA:
        raise LinearizeError(f"criterion: {one_of(name, CRITERIA)}")
    return CRITERIA[name]
