"""FixMatch: what a network is sure of under a weak change of an image is its label under a strong one."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from common.losses import LOSSES
from trainer.learners.base import Setting
from trainer.learners.semi import (
    REGIME,
    SemiSupervised,
    SemiSupervisedObjective,
    average,
    copied,
    copy_buffers,
    probabilities,
)


def pseudo_labels(loss: str, weak: Tensor, confidence: float) -> tuple[Tensor, Tensor]:
    """Return the likeliest class of each image ``[B]``, and 1 where its probability is at least τ, else 0 ``[B]``.

    Source: Sohn et al. 2020, section 2.2.

    Args:
        loss: that the labels are learned by, which says what probabilities are.
        weak: outputs under the weak change ``[B, C]``; they get no gradient.
        confidence: τ.

    """
    largest, classes = probabilities(loss, weak).max(dim=1)
    return classes, (largest >= confidence).to(weak.dtype)


def unlabelled_loss(loss: str, strong: Tensor, classes: Tensor, mask: Tensor) -> Tensor:
    """Return (1/B) Σ_b mask_b ℓ(f_b, ŷ_b), a mean over all images and not over those of which the network is sure.

    ℓ is the loss of the labels: cross-entropy, or for l2 the mean over classes of (f_c - 1[c = ŷ])².

    Source: Sohn et al. 2020, eq. 4.

    Args:
        loss: its name.
        strong: outputs under the strong change ``[B, C]``.
        classes: pseudo-labels ŷ ``[B]``.
        mask: ``[B]``.

    """
    if LOSSES[loss].mean_over_classes:
        each = (strong - F.one_hot(classes, strong.shape[1]).to(strong)).square().mean(dim=1)
    else:
        each = F.cross_entropy(strong, classes, reduction="none")
    return (mask * each).mean()


def averaging_factor(step: int, most: float) -> float:
    """Return f = min((1 + s)/(10 + s), f_most), by which averaged weights stay what they were.

    So they reach back over about a tenth of the steps done, until f_most does not let them reach further: published
    code has f_most = 0.999 from the first of its 2^20 steps on, with which 2,000 steps would end in an average that is
    an eighth the initial weights.

    Source: TensorFlow's ``ExponentialMovingAverage``; Tarvainen & Valpola 2017, eq. 1.

    Args:
        step: s, the first being 1.
        most: f_most.

    """
    return min((1 + step) / (10 + step), most)


class FixMatchObjective(SemiSupervisedObjective):
    """ℓ(weak(labelled)) + λ ``unlabelled_loss``(strong(u)), with ``pseudo_labels`` of weak(u).

    Weak is the regime's ``augment``, strong that and then ``perturb``.  All B (1 + 2 μ) images go through the network
    in one batch, which batch norm normalises by.  The labelled images are among those without labels.  Averaged
    parameters follow the network's after each step by ``averaging_factor``, averaged buffers are the network's.

    Source: Sohn et al. 2020; batches, buffers and set as in published code, kekmodel/FixMatch-pytorch.
    """

    def __init__(self, setting: Setting, learner: SemiSupervised) -> None:
        super().__init__(setting, learner, labelled_too=True)
        self.confidence, self.most = self.said("confidence"), self.said("ema")
        self.averaged = copied(setting.model)

    def loss(self, rows: Tensor, epoch: int) -> Tensor:
        """Return the loss of a batch.

        Args:
            rows: positions of labelled inputs ``[B]``.
            epoch: the first is 1.

        """
        setting, unlabelled = self.setting, self.unlabelled.next()
        parts = (self.changes.weak(setting.x[rows]), self.changes.weak(unlabelled), self.changes.strong(unlabelled))
        labelled, weak, strong = setting.model(torch.cat(parts)).split([len(part) for part in parts])
        own: Tensor = self.value(labelled, setting.y[rows])
        self.own = own.detach()
        classes, mask = pseudo_labels(self.loss_name, weak, self.confidence)
        return own + self.weight * unlabelled_loss(self.loss_name, strong, classes, mask)

    def stepped(self) -> None:
        """Let the average follow."""
        self.done += 1
        assert self.averaged is not None
        average(self.averaged, self.setting.model, averaging_factor(self.done, self.most))
        copy_buffers(self.averaged, self.setting.model)


class FixMatch(SemiSupervised):
    """Minimises the loss of the labelled images, and of those that the network is sure of by its own labels."""

    name = "fixmatch"
    description = (
        "the loss of the labelled images, and under strong changes that of the images without labels by the classes "
        "that the network is sure of"
    )
    source = "Sohn et al. 2020"
    changed_by = "rand-augment"
    regime: ClassVar[Mapping[str, Any]] = {**REGIME, "unlabelled_weight": 1.0, "confidence": 0.95, "ema": 0.999}

    def objective(self, setting: Setting) -> FixMatchObjective:
        """Return the loss of labelled images and of pseudo-labels."""
        return FixMatchObjective(setting, self)
