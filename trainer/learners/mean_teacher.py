"""Mean Teacher and the Π-model: a network is to say the same of an image however it is changed."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from trainer.learners.base import Setting
from trainer.learners.semi import (
    REGIME,
    SemiSupervised,
    SemiSupervisedObjective,
    average,
    copied,
    softened,
    statistics_left,
)


def ramp_up(step: int, steps: float) -> float:
    """Return exp(-5 (1 - t)²), t = min(s/S, 1): what a weight rises by, from 0.007 to 1.

    Source: Laine & Aila 2017, section 2.1.

    Args:
        step: s, steps done.
        steps: S, in which it rises; 0 for 1 from the start.

    """
    t = min(step / steps, 1.0) if steps > 0 else 1.0
    return math.exp(-5 * (1 - t) ** 2)


def teacher_factor(step: int, most: float) -> float:
    """Return f = min(1 - 1/(s + 1), f_most), by which a teacher stays what it was: a plain mean at first.

    Source: Tarvainen & Valpola 2017, published code.

    Args:
        step: s, the first being 1.
        most: f_most.

    """
    return min(1 - 1 / (step + 1), most)


def consistency(loss: str, student: Tensor, teacher: Tensor) -> Tensor:
    """Return (1/BC) Σ_bc (q_c(student_b) - q_c(teacher_b))², q being a softmax, or for l2 the outputs themselves.

    Source: Tarvainen & Valpola 2017, section 2; Laine & Aila 2017, section 2.1.

    Args:
        loss: that the labels are learned by.
        student: outputs ``[B, C]``.
        teacher: outputs ``[B, C]``, which get no gradient.

    """
    return (softened(loss, student) - softened(loss, teacher.detach())).square().mean()


class MeanTeacherObjective(SemiSupervisedObjective):
    """ℓ(labelled) + λ c(s) · ``consistency``(student, teacher) on images without labels.

    c is ``ramp_up`` over a share ``ramp`` of the steps, λ ``unlabelled_weight``.  The teacher θ̄ is a copy of the
    network whose parameters follow it after each step, θ̄ ← f θ̄ + (1 - f) θ, f = ``teacher_factor``; with f = 0 it is
    the network itself and this is the Π-model.  Student and teacher see different random changes of the same images;
    the labelled ones are changed likewise: where they are not, all that is changed comes to be called alike.

    Batch norm: labelled images and those without labels go through the network in one batch, which its running
    statistics follow.  The teacher's follow the batches of its own passes.  The Π-model's second pass leaves no trace
    in them.

    Each of the two terms is a mean over its own images.  Published code takes both over the batch of B + μB, with zeros
    for the others, so that at μ = 1 the sum is half as large, of which Adam takes no notice; its student passes over
    the batch once for each of them, where this one passes once for both.

    Source: Tarvainen & Valpola 2017; as in Oliver et al. 2018, appendix B.
    """

    def __init__(self, setting: Setting, learner: SemiSupervised) -> None:
        super().__init__(setting, learner, labelled_too=False)
        self.rising = self.said("ramp") * setting.steps
        self.most = self.said("ema") if "ema" in learner.regime else 0.0
        self.averaged = copied(setting.model) if self.most else None

    def loss(self, rows: Tensor, epoch: int) -> Tensor:
        """Return the loss of a batch.

        Args:
            rows: positions of labelled inputs ``[B]``.
            epoch: the first is 1.

        """
        setting, unlabelled = self.setting, self.unlabelled.next()
        x = self.changes.strong(torch.cat([setting.x[rows], unlabelled]))
        outputs: Tensor = setting.model(x)
        own: Tensor = self.value(outputs[: len(rows)], setting.y[rows])
        self.own = own.detach()
        taught = self._taught(self.changes.strong(unlabelled))
        weight = self.weight * ramp_up(self.done, self.rising)
        return own + weight * consistency(self.loss_name, outputs[len(rows) :], taught)

    @torch.no_grad()
    def _taught(self, x: Tensor) -> Tensor:
        if self.averaged is None:
            with statistics_left(self.setting.model):
                second: Tensor = self.setting.model(x)
            return second
        taught: Tensor = self.averaged.train()(x)
        return taught

    def stepped(self) -> None:
        """Let the teacher follow."""
        self.done += 1
        if self.averaged is not None:
            average(self.averaged, self.setting.model, teacher_factor(self.done, self.most))


class PiModel(SemiSupervised):
    """Minimises the loss of the labelled images, and how much the network's outputs depend on random changes."""

    name = "pi-model"
    description = (
        "the loss of the labelled images, and of those without labels how much outputs differ between random changes"
    )
    source = "Laine & Aila 2017; as in Oliver et al. 2018"
    changed_by = "shift"
    regime: ClassVar[Mapping[str, Any]] = {**REGIME, "unlabelled_weight": 8.0, "ramp": 0.4}

    def objective(self, setting: Setting) -> MeanTeacherObjective:
        """Return the loss of labelled images and the consistency of the others."""
        return MeanTeacherObjective(setting, self)


class MeanTeacher(PiModel):
    """The Π-model with a teacher: the network at weights averaged over the steps."""

    name = "mean-teacher"
    description = (
        "the loss of the labelled images, and of those without labels how far outputs are from those of the network "
        "at averaged weights"
    )
    source = "Tarvainen & Valpola 2017; as in Oliver et al. 2018"
    regime: ClassVar[Mapping[str, Any]] = {**PiModel.regime, "ema": 0.95}
