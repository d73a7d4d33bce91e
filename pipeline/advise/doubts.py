"""Labels that look wrong to all the others: ranked for a person to look at again, never changed by themselves."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.run.pool import Labelled

if TYPE_CHECKING:
    from pipeline.queries import QueryState

SHARE = 0.05
"""Of the labels that are shown to be looked at again."""
FEWEST = 5
MOST = 4000
"""Labels up to which it is computed: the time grows with their third power."""
KERNEL, LAST_LAYER = "the network's tangent kernel", "the network's last layer"


class Doubt(NamedTuple):
    """A label that looks wrong.

    Args:
        sample: which.
        label: the class that it was given.
        suggested: the class that the others predict instead.
        lead: by how much they predict it more, in units of a one-hot label; above 0.

    """

    sample: int
    label: int
    suggested: int
    lead: float


class Doubts(NamedTuple):
    """What a network makes of the labels that it learned.

    Args:
        found: the most doubtful first.
        basis: what the predictions rest on.
        labels: that were looked at; 0 where none could be.

    """

    found: tuple[Doubt, ...] = ()
    basis: str = LAST_LAYER
    labels: int = 0

    def shown(self, current: Mapping[int, int], kept: Mapping[int, int]) -> tuple[Doubt, ...]:
        """Return what a person should look at again: 5 % of the labels, but 5 at least, as far as they are in doubt.

        Args:
            current: labels that count now, by sample; what was corrected since is in doubt no more.
            kept: labels that somebody stands by, by sample.

        """
        return self.standing(current, kept)[: max(FEWEST, math.ceil(SHARE * len(current)))]

    def standing(self, current: Mapping[int, int], kept: Mapping[int, int]) -> tuple[Doubt, ...]:
        """Return all that are still in doubt.

        Args:
            current: as of ``shown``, like what follows.
            kept: labels that somebody stands by.

        """
        found = (doubt for doubt in self.found if kept.get(doubt.sample) != doubt.label)
        return tuple(doubt for doubt in found if current.get(doubt.sample) == doubt.label)


def doubts(labelled: Labelled, theta: np.ndarray, num_classes: int, basis: str) -> Doubts:
    """Return the labels for which all others predict another class.

    Args:
        labelled: the labels that a network learned.
        theta: their kernel ``[L, L]``.
        num_classes: C.
        basis: what the kernel is.

    """
    from linearize.doubtful import left_out

    if len(labelled) < 2:
        return Doubts((), basis)
    found = left_out(theta, labelled.labels, num_classes)
    rows = [i for i in found.order.tolist() if found.lead[i] > 0]
    return Doubts(
        tuple(
            Doubt(int(labelled.ids[i]), int(labelled.labels[i]), int(found.suggested[i]), float(found.lead[i]))
            for i in rows
        ),
        basis,
        len(labelled),
    )


def doubts_of_state(state: "QueryState", linearized: bool) -> Doubts:
    """Return the doubts of a cycle's network, by the kernel that it asks with, or else by its last layer.

    Args:
        state: of the cycle.
        linearized: whether its linearised network is at hand.

    """
    from linearize.doubtful import features_kernel, of_factor
    from trainer.errors import TrainerError

    labelled = state.labelled
    if len(labelled) > MOST:
        return Doubts()
    if linearized:
        factor = state.look_ahead.labelled
        theta = of_factor(factor.F, len(labelled), factor.lam)
        return doubts(labelled, theta, state.num_classes, KERNEL)
    try:
        return doubts(labelled, features_kernel(state.labelled_features), state.num_classes, LAST_LAYER)
    except TrainerError:  # it does not end in a linear layer
        return Doubts()


def doubts_of_network(
    labelled: Labelled,
    inputs: Callable[[np.ndarray], np.ndarray],
    num_classes: int,
    port: Path | None,
    model: Callable[[], "object"],
) -> Doubts:
    """Return the doubts of a network that was kept: by its tangent kernel where it was ported, else by its last layer.

    Args:
        labelled: what it learned.
        inputs: maps ids to its inputs.
        num_classes: C.
        port: its port; None where it has none.
        model: gives it in PyTorch.

    """
    from linearize import empirical_ntk
    from linearize.doubtful import features_kernel
    from migrator import load
    from trainer.errors import TrainerError
    from trainer.features import embed

    if len(labelled) > MOST:
        return Doubts()
    x = inputs(labelled.ids)
    if port is not None:
        migrated = load(port)
        return doubts(labelled, empirical_ntk(migrated.apply_fn, migrated.variables, x), num_classes, KERNEL)
    try:
        return doubts(labelled, features_kernel(embed(model(), x).features), num_classes, LAST_LAYER)  # type: ignore[arg-type]
    except TrainerError:
        return Doubts()
