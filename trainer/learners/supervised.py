"""The plain learner: the loss of the labelled images, and nothing else."""

from torch import Tensor

from common.losses import get_loss
from trainer.data.augment import AUGMENTATIONS
from trainer.learners.base import Learner, Objective, Setting


class SupervisedObjective(Objective):
    """(1/B) Σ_b ℓ(f(a(x_b)), y_b) with a random augmentation a."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.value = get_loss(setting.options.loss).value
        self.augment = AUGMENTATIONS[setting.options.augment]

    def loss(self, rows: Tensor, epoch: int) -> Tensor:
        """Return the mean loss of a batch."""
        setting = self.setting
        outputs: Tensor = setting.model(self.augment(setting.x[rows], setting.generator))
        return self.value(outputs, setting.y[rows])


class Supervised(Learner):
    """Minimises the loss of the labelled images."""

    name = "supervised"
    description = "the loss of the labelled images alone"
    source = "Rumelhart, Hinton & Williams 1986"
    needs_unlabelled = False

    def objective(self, setting: Setting) -> SupervisedObjective:
        """Return the mean loss of labelled images."""
        return SupervisedObjective(setting)
