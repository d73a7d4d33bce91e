"""Look-ahead criteria by name; one criterion a file."""

from collections.abc import Callable
from typing import get_args

from linearize.criteria.base import Change, Criterion, Distance, HalfwayCriterion, Reference, check_measure
from linearize.criteria.eer import Eer
from linearize.criteria.emoc import Emoc
from linearize.criteria.emoc_flips import EmocFlips
from linearize.criteria.expected_accuracy import ExpectedAccuracy
from linearize.criteria.flips import MlmocFlips
from linearize.criteria.halfway import entropy_lin, least_confidence_lin, margin_lin
from linearize.criteria.mlmoc import Mlmoc
from linearize.criteria.unsure import margin_influence, margin_variance
from linearize.errors import LinearizeError
from linearize.probabilities import Probabilities, check_probabilities

_CRITERIA: dict[str, Callable[[Probabilities], Criterion]] = {
    "mlmoc": Mlmoc,
    "mlmoc-flips": MlmocFlips,
    "emoc": Emoc,
    "eer": Eer,
    "emoc-flips": EmocFlips,
    "expected-accuracy": ExpectedAccuracy,
    "margin-variance": margin_variance,
    "margin-influence": margin_influence,
}
CRITERIA: dict[str, Criterion] = {name: make("simplex") for name, make in _CRITERIA.items()}
"""Those that look ahead to another label, and so need S."""
_HALFWAY: dict[str, Callable[[Probabilities], HalfwayCriterion]] = {
    "margin-lin": margin_lin,
    "entropy-lin": entropy_lin,
    "least-confidence-lin": least_confidence_lin,
}
HALFWAY: dict[str, HalfwayCriterion] = {name: make("simplex") for name, make in _HALFWAY.items()}
"""Those that need f_lin alone: Θ(U,X), never Θ(U,U)."""
REFERENCES: tuple[Reference, ...] = get_args(Reference)
DISTANCES: tuple[Distance, ...] = get_args(Distance)

__all__ = [
    "CRITERIA",
    "DISTANCES",
    "HALFWAY",
    "REFERENCES",
    "Change",
    "Criterion",
    "Distance",
    "HalfwayCriterion",
    "Reference",
    "check_measure",
    "get_criterion",
    "get_halfway",
]


def get_criterion(name: str, probabilities: Probabilities = "simplex") -> Criterion | HalfwayCriterion:
    """Look a criterion up by name.

    Args:
        name: a key of ``CRITERIA`` or ``HALFWAY``.
        probabilities: ``simplex`` for networks trained with the L2 loss, ``softmax`` for cross-entropy.

    Raises:
        LinearizeError: the name is not registered; the message lists those that are.

    """
    known = {**_CRITERIA, **_HALFWAY}
    if name not in known:
        raise LinearizeError(f"criterion: expected one of {', '.join(known)}; got {name!r}")
    return known[name](check_probabilities(probabilities))


def get_halfway(name: str, probabilities: Probabilities = "simplex") -> HalfwayCriterion:
    """Look a half-way criterion up by name.

    Raises:
        LinearizeError: the name is not registered, or its criterion needs S.

    """
    if name not in HALFWAY:
        raise LinearizeError(f"criterion: expected one that needs no S, {', '.join(HALFWAY)}; got {name!r}")
    return _HALFWAY[name](check_probabilities(probabilities))
