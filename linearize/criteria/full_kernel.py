"""Every criterion with the full kernel: which labels it imagines, and what of the predicted outputs it sums up."""

from collections.abc import Callable
from typing import cast

import numpy as np

from linearize.criteria import HALFWAY
from linearize.criteria.base import Criterion, Distance, HalfwayCriterion, Reference, no_gain_if_redundant
from linearize.criteria.by_definition import (
    distance_from,
    expected_value,
    flips_from,
    negative_entropy,
    sureness_from,
    variance_taken,
)
from linearize.criteria.emoc_flips import TIE
from linearize.criteria.flips import below_one
from linearize.criteria.halfway import negative_margin
from linearize.criteria.unsure import Unsure
from linearize.errors import LinearizeError
from linearize.lookahead import pseudo_labels
from linearize.per_logit import PerLogit
from linearize.probabilities import Probabilities, class_probabilities
from linearize.regression import Regression
from linearize.types import Float64

Scores = Callable[[PerLogit, Reference, Distance, Probabilities], Float64]


def _before(state: PerLogit, reference: Reference) -> Float64:
    return state.f_lin if reference == "linearized" else state.f


def _likeliest(state: PerLogit) -> Float64:
    return np.eye(state.classes)[pseudo_labels(state)]


def _mlmoc(state: PerLogit, reference: Reference, distance: Distance, probabilities: Probabilities) -> Float64:
    change = distance_from(_before(state, reference), distance, probabilities)
    return no_gain_if_redundant(state, expected_value(state, _likeliest(state), change, probabilities))


def _mlmoc_flips(state: PerLogit, reference: Reference, distance: Distance, probabilities: Probabilities) -> Float64:
    flips = expected_value(state, _likeliest(state), flips_from(_before(state, reference)), probabilities)
    return no_gain_if_redundant(state, flips) + below_one(_mlmoc(state, reference, distance, probabilities))


def _emoc(state: PerLogit, reference: Reference, distance: Distance, probabilities: Probabilities) -> Float64:
    change = distance_from(_before(state, reference), distance, probabilities)
    p = class_probabilities(state.f, probabilities)
    return no_gain_if_redundant(state, expected_value(state, p, change, probabilities))


def _emoc_flips(state: PerLogit, reference: Reference, distance: Distance, probabilities: Probabilities) -> Float64:
    p = class_probabilities(state.f_lin, probabilities)
    flips = expected_value(state, p, flips_from(_before(state, reference)), probabilities)
    return no_gain_if_redundant(state, flips) + TIE * below_one(_emoc(state, reference, distance, probabilities))


def _eer(state: PerLogit, reference: Reference, distance: Distance, probabilities: Probabilities) -> Float64:
    p = class_probabilities(state.f, probabilities)
    return expected_value(state, p, negative_entropy(probabilities), probabilities)


def _expected_accuracy(
    state: PerLogit, reference: Reference, distance: Distance, probabilities: Probabilities
) -> Float64:
    p, gain = class_probabilities(state.f_lin, probabilities), sureness_from(state.f_lin, probabilities)
    return no_gain_if_redundant(state, expected_value(state, p, gain, probabilities))


def _unsure(criterion: Unsure, state: PerLogit) -> Float64:
    m = 1 + negative_margin(class_probabilities(state.f_lin, criterion.probabilities))  # [U]
    weights = np.where(state.redundant, 0.0, m * criterion.weight(cast(Regression, state)))  # reads u
    return no_gain_if_redundant(state, m * variance_taken(state, weights))


_SCORES: dict[str, Scores] = {
    "mlmoc": _mlmoc,
    "mlmoc-flips": _mlmoc_flips,
    "emoc": _emoc,
    "emoc-flips": _emoc_flips,
    "eer": _eer,
    "expected-accuracy": _expected_accuracy,
}


def score(
    criterion: Criterion | HalfwayCriterion,
    state: Regression | PerLogit,
    reference: Reference | None,
    distance: Distance = "outputs",
) -> Float64:
    """Score every candidate by a criterion, with any kernel, ``[U]``.

    Args:
        criterion: whose own docstring has the formula.
        state: the regression.
        reference: what change is measured from; the criterion's own default when absent.
        distance: where change is measured.

    Raises:
        LinearizeError: the criterion is not defined for the full kernel, which this state is of.

    """
    reference = reference or criterion.default_reference
    if not isinstance(state, PerLogit) or criterion.name in HALFWAY:
        return criterion.scores(cast(Regression, state), reference, distance=distance)  # half-way ones take both
    if isinstance(criterion, Unsure):
        return _unsure(criterion, state)
    if criterion.name not in _SCORES:
        known = ", ".join(_SCORES)
        raise LinearizeError(f"criterion with the kernel full: expected one of {known}; got {criterion.name!r}")
    return _SCORES[criterion.name](state, reference, distance, getattr(criterion, "probabilities", "simplex"))
