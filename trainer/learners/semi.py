"""What learners of images without labels share: which images a step sees, averages of weights, batch norm's rules."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from common.losses import LOSSES, get_loss
from trainer.batches import Stream
from trainer.data.augment import AUGMENTATIONS
from trainer.data.perturb import PERTURBATIONS, Change, is_image
from trainer.errors import TrainerError
from trainer.learners.base import Inputs, Learner, Objective, Setting

if TYPE_CHECKING:
    from trainer.options import TrainOptions

LEARNERS_OWN = ("unlabelled_ratio", "unlabelled_weight", "ramp", "confidence", "ema", "perturb")
"""Fields of ``trainer.options.TrainOptions`` that only some learners have a use for."""
REGIME: Mapping[str, Any] = {
    "epochs": 40,
    "epoch_steps": 50,
    "batch_size": 16,
    "loss": "cross-entropy",
    "tolerance": 0.0,
    "optimizer": "adam",
    "schedule": "cosine-7/16",
    "batch_norm": "running",
    "unlabelled_ratio": 3,
    "perturb": "auto",
}
"""What the regimes of these learners have in common: small, for a laptop."""
SAMPLE = 2000
"""Inputs without labels, evenly spaced, that are looked at for the range of their values."""


def perturbation(options: "TrainOptions", input_shape: Sequence[int], of_images: str) -> str:
    """Return by what inputs without labels are changed beyond ``augment``, a key of ``PERTURBATIONS``.

    Args:
        options: the regime.
        input_shape: (C, H, W) of one input.
        of_images: what ``auto`` is of images; of features it is noise.

    Raises:
        TrainerError: it is for images, and these are features.

    """
    images = is_image(tuple(input_shape))
    name = options.perturb or "auto"
    if name == "auto":
        return of_images if images else "noise"
    if PERTURBATIONS[name].of_images and not images:
        raise TrainerError(
            f"perturb must be noise or none for features, which have no pixels to move, got {name!r}; the learner "
            f"{options.learner} takes noise of features by default"
        )
    return name


class Unlabelled:
    """Batches of inputs without labels: an endless stream of passes over them in random order.

    Where a batch is larger than their number it holds some of them again, each time changed anew.

    Args:
        setting: what an attempt works with.
        size: inputs of a batch.
        labelled_too: whether the labelled inputs are among them, without their labels.

    """

    def __init__(self, setting: Setting, size: int, labelled_too: bool) -> None:
        assert setting.unlabelled is not None
        self.inputs: Inputs = setting.unlabelled
        self.labelled = setting.x if labelled_too else setting.x[:0]
        self.stream = Stream(len(self.inputs) + len(self.labelled), size, setting.generator)

    def next(self) -> Tensor:
        """Return the next batch ``[B, C, H, W]``."""
        rows, own = self.stream.next(), len(self.inputs)
        labelled = rows >= own
        x = torch.empty(len(rows), *self.labelled.shape[1:], dtype=self.labelled.dtype)
        if not bool(labelled.all()):
            x[~labelled] = torch.from_numpy(np.asarray(self.inputs[rows[~labelled].numpy()]))
        x = x.to(self.labelled.device)
        if bool(labelled.any()):
            x[labelled.to(x.device)] = self.labelled[(rows[labelled] - own).to(x.device)]
        return x

    def range(self) -> tuple[Tensor, Tensor]:
        """Return the least and the largest value of each channel ``[C]``, of up to ``SAMPLE`` of them."""
        rows = np.unique(np.linspace(0, len(self.inputs) - 1, min(SAMPLE, len(self.inputs))).astype(np.int64))
        parts = [torch.from_numpy(np.asarray(self.inputs[part])) for part in np.array_split(rows, -(-len(rows) // 256))]
        parts += [self.labelled.cpu()] if len(self.labelled) else []
        low, high = ([getattr(part, extreme)((0, 2, 3)) for part in parts] for extreme in ("amin", "amax"))
        return torch.stack(low).amin(0), torch.stack(high).amax(0)


class Changes:
    """What inputs are changed by: weakly, as the regime's ``augment`` says; and strongly, then also by ``perturb``.

    Args:
        setting: what an attempt works with.
        unlabelled: whose range of values counts.
        name: of the strong change.

    """

    def __init__(self, setting: Setting, unlabelled: Unlabelled, name: str) -> None:
        self.generator = setting.generator
        self._weak = AUGMENTATIONS[setting.options.augment]
        low, high = unlabelled.range() if PERTURBATIONS[name].of_images else (torch.empty(0), torch.empty(0))
        self._more: Change = PERTURBATIONS[name].build(low, high)

    def weak(self, x: Tensor) -> Tensor:
        """Return weakly changed inputs ``[B, C, H, W]``."""
        return self._weak(x, self.generator)

    def strong(self, x: Tensor) -> Tensor:
        """Return strongly changed inputs ``[B, C, H, W]``."""
        return self._more(self._weak(x, self.generator), self.generator)


def chosen(options: "TrainOptions", regime: Any, name: str) -> Any:
    """Return a field that only some learners have, or the learner's own default where nobody said.

    Args:
        options: the regime.
        regime: the learner's defaults.
        name: of the field.

    """
    said = getattr(options, name)
    return regime[name] if said is None else said


def copied(model: nn.Module) -> nn.Module:
    """Return a copy of a network that shares nothing with it and gets no gradient.

    Args:
        model: the network.

    Raises:
        TrainerError: it cannot be copied.

    """
    try:
        twin = copy.deepcopy(model)
    except Exception as error:
        raise TrainerError(
            f"a learner that averages weights must copy the network, but {type(model).__name__} cannot be copied "
            f"({error}): choose supervised"
        ) from error
    return twin.requires_grad_(False)


@torch.no_grad()
def average(averaged: nn.Module, model: nn.Module, factor: float) -> None:
    """Move averaged parameters towards a network's, θ̄ ← f θ̄ + (1 - f) θ; buffers stay.

    Source: Tarvainen & Valpola 2017, eq. 1.

    Args:
        averaged: θ̄.
        model: θ.
        factor: f.

    """
    for mean, parameter in zip(averaged.parameters(), model.parameters(), strict=True):
        mean.mul_(factor).add_(parameter.detach(), alpha=1 - factor)


@torch.no_grad()
def copy_buffers(averaged: nn.Module, model: nn.Module) -> None:
    """Give an averaged network a network's buffers, the statistics of batch norm.

    Args:
        averaged: that gets them.
        model: that has them.

    """
    for mine, theirs in zip(averaged.buffers(), model.buffers(), strict=True):
        mine.copy_(theirs)


@contextmanager
def statistics_left(model: nn.Module) -> Iterator[None]:
    """Let batch norm normalise by the batch, as in training, without a trace of it in the running statistics.

    Args:
        model: in training mode.

    """
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


def softened(loss: str, outputs: Tensor) -> Tensor:
    """Return what a loss drives towards one-hot targets, its ``readout``: a softmax, or for l2 the outputs themselves.

    Args:
        loss: a key of ``common.losses.LOSSES``.
        outputs: ``[B, C]``.

    """
    return outputs if LOSSES[loss].mean_over_classes else outputs.softmax(dim=1)


def probabilities(loss: str, outputs: Tensor) -> Tensor:
    """Return class probabilities ``[B, C]`` of outputs, as ``common.losses`` has them of this loss, without a gradient.

    Args:
        loss: a key of ``common.losses.LOSSES``.
        outputs: ``[B, C]``.

    """
    p = LOSSES[loss].probabilities.of(outputs.detach().cpu().numpy())
    return torch.from_numpy(p).to(outputs)


class SemiSupervisedObjective(Objective):
    """What objectives of images without labels have in common: a stream of these, their changes, and a count of steps.

    Args:
        setting: what an attempt works with.
        learner: whose objective it is.
        labelled_too: whether the labelled images are among those without labels.

    """

    def __init__(self, setting: Setting, learner: "SemiSupervised", *, labelled_too: bool) -> None:
        options = setting.options
        self.setting, self.loss_name, self.regime = setting, options.loss, learner.regime
        self.value = get_loss(options.loss).value
        self.unlabelled = Unlabelled(setting, options.batch_size * self.said("unlabelled_ratio"), labelled_too)
        name = perturbation(options, setting.x.shape[1:], learner.changed_by)
        self.changes = Changes(setting, self.unlabelled, name)
        self.weight = float(self.said("unlabelled_weight"))
        self.done = 0

    def said(self, name: str) -> Any:
        """Return a field of the regime, or the learner's default where nobody said.

        Args:
            name: of the field.

        """
        return chosen(self.setting.options, self.regime, name)

    def state(self) -> dict[str, Any]:
        """Return the number of steps done and where the stream of images is; the trainer keeps the averages."""
        return {"done": self.done, "unlabelled": self.unlabelled.stream.state()}

    def go_on_from(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` returned."""
        self.done = state["done"]
        self.unlabelled.stream.go_on_from(state["unlabelled"])


class SemiSupervised(Learner):
    """A learner of images without labels, in batches of μ times as many as labelled ones.

    Args:
        changed_by: what ``perturb: auto`` is of images.

    """

    needs_unlabelled = True
    changed_by: ClassVar[str]

    def images_per_step(self, options: "TrainOptions") -> int:
        """Return B (1 + 2 μ).

        Args:
            options: the regime.

        """
        return options.batch_size * (1 + 2 * int(chosen(options, self.regime, "unlabelled_ratio")))

    def require_fits(self, options: "TrainOptions", input_shape: Sequence[int], unlabelled: int) -> None:
        """Refuse no images without labels, or changes that these inputs cannot have.

        Args:
            options: the regime.
            input_shape: (C, H, W) of one input.
            unlabelled: how many inputs without labels there are.

        Raises:
            TrainerError: one of these.

        """
        if unlabelled == 0:
            raise TrainerError(
                f"the learner {self.name} needs images without labels, got none: label fewer, or choose supervised"
            )
        perturbation(options, input_shape, self.changed_by)
