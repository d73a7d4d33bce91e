"""What one attempt at a training leaves, and what of the labelled images it trains on in how many steps."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import nn

from trainer.errors import TrainerError
from trainer.learners.base import EpochRecord, Weights
from trainer.options import least_labelled
from trainer.regimes import Ended
from trainer.restarts import Failure

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Attempt:
    """What one attempt left, and why it failed if it did.

    Args:
        max_lr: its rate.
        epochs: that were run.
        ended: what ended it.
        rms: the residual ``||R||_F / sqrt(L)`` of the images that were trained on.
        outputs: of all labelled images ``[L, C]``.
        history: a record an epoch.
        failure: why it failed; None where it did not.
        at_chance: whether it failed and knows no more than a constant.
        limited: whether its gradients were limited.
        rows: positions of the labelled images that were trained on.
        held_out: of those that were not.
        snapshots: weights by epoch.
        beside: weights of what was trained beside the network.
        student: weights that steps were taken with, where the network has averages of them.

    """

    max_lr: float
    epochs: int
    ended: Ended
    rms: float
    outputs: NDArray[np.float32]
    history: list[EpochRecord]
    failure: Failure | None
    at_chance: bool
    limited: bool
    rows: Rows
    held_out: Rows
    snapshots: dict[int, Weights] = field(default_factory=dict)
    beside: Weights = field(default_factory=dict)
    student: Weights = field(default_factory=dict)

    @property
    def ended_early(self) -> bool:
        """Whether something other than the epoch limit ended it, and it did not fail."""
        return self.failure is None and self.ended != "epochs"


def copy_of(model: nn.Module) -> Weights:
    """Return the weights and statistics of a network as they are now."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def held_out_rows(n_labelled: int, share: float) -> Rows:
    """Return the positions of the labelled images that are not trained on: every k-th, k = round(1/share).

    What is held out of some labels is held out of those and more.

    Args:
        n_labelled: L.
        share: of them, 0 for none.

    Raises:
        TrainerError: too few labels to hold one out.

    """
    if share == 0:
        return np.empty(0, np.int64)
    k = least_labelled(share)
    if n_labelled < k:
        raise TrainerError(
            f"holdout: expected at least {k} labels to hold a share of {share:g} of them out, got {n_labelled}; "
            "label more, or set holdout and patience to nothing"
        )
    return np.arange(k - 1, n_labelled, k)


def steps_per_epoch(n_labelled: int, batch_size: int, batch_norm: bool) -> int:
    """Count the equal steps that a pass is cut into, none larger than ``batch_size`` if that can be.

    With batch norm no step has fewer than two images, so that a last batch of one never arises.

    Args:
        n_labelled: labelled images L, at least 1.
        batch_size: the most images in one step.
        batch_norm: whether the network contains batch norm.

    """
    steps = math.ceil(n_labelled / batch_size)
    return max(1, min(steps, n_labelled // 2)) if batch_norm else steps
