"""What ends a training before its epoch limit."""

import math
from typing import TYPE_CHECKING, Literal

from trainer.regimes.schedules import SCHEDULES

if TYPE_CHECKING:
    from trainer.options import TrainOptions

CHECK_EVERY = 5
"""Epochs between two looks at the residual, where nothing asks for more."""

Ended = Literal["tolerance", "accuracy", "patience", "epochs", "solved"]
"""What ended a training: the residual, the accuracy on the labelled images, the loss on held-out ones, the limit; or it
took no steps, for the minimum was solved for."""


class Ending:
    """Watches one training, and says when it is over.

    It is at the first look at which ``residual_rms <= tolerance``; or ``accuracy > until_accuracy`` on the images that
    are trained on; or at which the loss on the held-out images was not under its lowest for ``patience`` epochs.  There
    is no look while the learning rate still rises, but always one after the last epoch.

    Args:
        options: the regime.

    """

    def __init__(self, options: "TrainOptions") -> None:
        self.options = options
        self.every = 1 if options.until_accuracy is not None or options.patience is not None else CHECK_EVERY
        self.lowest, self.best_epoch = math.inf, 0

    def looks(self, epoch: int) -> bool:
        """Return whether the network is to be measured after an epoch, the first being 1."""
        last = self.options.epochs
        return epoch == last or (epoch > SCHEDULES[self.options.schedule].rises * last and epoch % self.every == 0)

    def improves(self, epoch: int, held_out: float) -> bool:
        """Take in the loss on the held-out images, and return whether it is the lowest so far.

        Args:
            epoch: the number of the epoch.
            held_out: the mean loss.

        """
        if not held_out < self.lowest:
            return False
        self.lowest, self.best_epoch = held_out, epoch
        return True

    def met(self, epoch: int, rms: float, accuracy: float) -> Ended | None:
        """Return why training is over after a look at it; None where it goes on, or only the epoch limit ends it.

        Args:
            epoch: the number of the epoch.
            rms: the residual of the images that are trained on.
            accuracy: on these, a fraction.

        """
        if rms <= self.options.tolerance:
            return "tolerance"
        if self.options.until_accuracy is not None and accuracy > self.options.until_accuracy:
            return "accuracy"
        if self.options.patience is not None and epoch - self.best_epoch >= self.options.patience:
            return "patience"
        return None
