"""A loss and a criterion that the project does not have, as a stranger would add them: one record each."""

import numpy as np

from common.losses import Loss, PseudoResidual
from common.probabilities import Probabilities, project_onto_simplex
from linearize.criteria import Criterion
from linearize.criteria.generic import expected_value, likeliest, no_gain_if_redundant


def _value(outputs, y):
    """(1/B) Σ_bc max(0, 1 - s_bc f_c(x_b))², s = ±1."""
    return ((1 - (2 * y - 1) * outputs).clamp(min=0) ** 2).sum(1).mean()


def _pull(f, scale):
    """Half the negative gradient: s (1 - s f)₊, for s = 1 at the label and -1 elsewhere."""
    below, above = np.maximum(1 - f, 0), np.maximum(1 + f, 0)
    return PseudoResidual(scale * (below + above), scale * above)


def _halves(f):
    return (1 + np.clip(f, -1, 1)) / 2


SQUARED_HINGE = Loss(
    name="squared-hinge",
    description="squared hinge on targets of ±1, mean over the batch",
    value=_value,
    readout=_halves,
    probabilities=Probabilities("halves", lambda f: project_onto_simplex((1 + np.asarray(f, np.float64)) / 2)),
    pull=_pull,
    lr_scale=0.1,
)


def _furthest(posterior, request):
    """max_x ‖f_lin⁺(x) - f_lin(x)‖₂, the likeliest label imagined."""

    def furthest(after):
        return np.linalg.norm(after - posterior.mean[None], axis=2).max(1)

    return no_gain_if_redundant(posterior, expected_value(posterior, likeliest(posterior), furthest, request.loss))


FURTHEST = Criterion(
    name="furthest",
    formula="A(x') = max_x ‖f_lin⁺(x) - f_lin(x)‖₂ with y' = argmax f(x')",
    description="whose likeliest label would move a single output of the pool furthest",
    source="nobody",
    score=_furthest,
    ranking_target="direction",
)
