"""Look-ahead criteria by name; one criterion a file."""

from linearize.criteria.base import Criterion, Reference
from linearize.criteria.eer import Eer
from linearize.criteria.emoc import Emoc
from linearize.criteria.flips import MlmocFlips
from linearize.criteria.mlmoc import Mlmoc
from linearize.errors import LinearizeError

CRITERIA: dict[str, Criterion] = {criterion.name: criterion for criterion in (Mlmoc(), MlmocFlips(), Emoc(), Eer())}
REFERENCES: tuple[Reference, ...] = ("network", "linearized")

__all__ = ["CRITERIA", "REFERENCES", "Criterion", "Reference", "get_criterion"]


def get_criterion(name: str) -> Criterion:
    """Look a criterion up by name.

    Raises:
        LinearizeError: the name is not registered; the message lists those that are.

    """
    if name not in CRITERIA:
        raise LinearizeError(f"criterion: expected one of {', '.join(CRITERIA)}; got {name!r}")
    return CRITERIA[name]
