"""Learning loss: beside the network a small module is trained that predicts the network's loss of an image."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.losses import get_loss
from trainer.data.augment import AUGMENTATIONS
from trainer.errors import TrainerError
from trainer.learners.base import Learner, Objective, Setting
from trainer.learners.taps import Tap, find_taps, reading
from trainer.predict import predict

WIDTH = 128
"""Units for each place at which features are read.  Source: Yoo & Kweon 2019, section 4.1."""
MARGIN = 1.0
"""ξ, by how much predictions are to be in the right order.  Source: Yoo & Kweon 2019, section 4.1."""
WEIGHT = 1.0
"""λ, of the ranking loss beside the network's own, which must be a sum over classes.  Source: Yoo & Kweon 2019, section
4.1, for cross-entropy; published code with l2 keeps it and sums over classes."""
SHARED = 0.6
"""Share of the epochs in which the ranking loss reaches the network too.  Source: Yoo & Kweon 2019, section 4.1: the
first 120 of 200."""


class LossPrediction(nn.Module):
    """l̂ = w · [relu(W_1 h_1 + b_1), .., relu(W_K h_K + b_K)] + b, one number an image.

    Source: Yoo & Kweon 2019, section 3.2.

    Args:
        widths: features d_k of each of the K places.

    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.narrow = nn.ModuleList(nn.Linear(width, WIDTH) for width in widths)
        self.last = nn.Linear(WIDTH * len(widths), 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Map features ``[B, d_k]`` of each place to predicted losses ``[B]``."""
        hidden = [torch.relu(layer(h)) for layer, h in zip(self.narrow, features, strict=True)]  # [B, WIDTH] each
        predicted: Tensor = self.last(torch.cat(hidden, dim=1)).squeeze(1)
        return predicted


def ranking_loss(predicted: Tensor, losses: Tensor) -> Tensor:
    """Return how far predicted losses are from the order of the true ones, in pairs from both ends of the batch.

    (2/B) Σ_{i < B/2} max(0, -sgn(l_i - l_j)(l̂_i - l̂_j) + ξ),   j = B - 1 - i

    sgn(0) = -1.  Of an odd batch the last example is left out; of a batch of one nothing is left, and the loss is 0.

    Source: Yoo & Kweon 2019, eq. 2; sgn(0) as in published code.

    Args:
        predicted: l̂ ``[B]``.
        losses: l ``[B]``; a target, so without a gradient.

    """
    half = len(losses) // 2
    if half == 0:
        return predicted.sum() * 0
    l_i, l_j = losses[:half], losses[half : 2 * half].flip(0)
    p_i, p_j = predicted[:half], predicted[half : 2 * half].flip(0)
    sign = torch.where(l_i > l_j, 1.0, -1.0)  # [B/2]
    return torch.relu(MARGIN - sign * (p_i - p_j)).mean()


class LossPredictionObjective(Objective):
    """(1/B) Σ_b l_b + λ · ``ranking_loss``(l̂, l), l_b = ℓ(f(a(x_b)), y_b) with a random augmentation a.

    The losses l_b are the project's own: for l2 the mean over classes, as in every other training.  Published code sums
    over classes in LL4AL alone, so that its loss is C times as large; here λ is divided by C instead, which is the same
    at C times the learning rate, and leaves the network's own step what it is without the module.  With an undivided λ
    the ranking loss, which begins near ξ = 1, outweighs an l2, which begins near 1/C: networks then diverge or do not
    fit their images.  The l_b are targets of the ranking loss: no gradient goes through them.  After ``SHARED`` of the
    epochs none goes from the ranking loss to the network's features either.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        loss = get_loss(setting.options.loss)
        self.value = loss.value
        self.weight = WEIGHT / (setting.y.shape[1] if loss.mean_over_classes else 1)
        self.augment = AUGMENTATIONS[setting.options.augment]
        self.taps = find_taps(setting.model, setting.x.shape[1:])
        self.predictor = LossPrediction([tap.width for tap in self.taps])
        self.module = self.predictor
        if setting.beside is not None:
            _fill(self.predictor, setting.beside)

    def loss(self, rows: Tensor, epoch: int) -> Tensor:
        """Return the loss of a batch.

        Args:
            rows: positions of labelled inputs ``[B]``.
            epoch: the first is 1.

        """
        setting, y = self.setting, self.setting.y[rows]
        x = self.augment(setting.x[rows], setting.generator)
        with reading(setting.model, self.taps) as features:
            outputs: Tensor = setting.model(x)
        if epoch > SHARED * setting.options.epochs:
            features = [h.detach() for h in features]
        own: Tensor = self.value(outputs, y)
        self.own = own.detach()
        return own + self.weight * ranking_loss(self.predictor(features), self._each(outputs, y))

    @torch.no_grad()
    def _each(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the loss of every example, ``[B]``, without a gradient."""

        def one(f: Tensor, t: Tensor) -> Tensor:
            return torch.as_tensor(self.value(f[None], t[None]))

        losses: Tensor = torch.func.vmap(one)(outputs.detach(), y)
        return losses


class LearnedLoss(Learner):
    """Minimises the loss of the labelled images and teaches a module beside the network to rank images by it."""

    name = "loss-prediction"
    description = "the loss of the labelled images, and beside the network a module that learns to rank by it"
    source = "Yoo & Kweon 2019"
    needs_unlabelled = False

    def objective(self, setting: Setting) -> LossPredictionObjective:
        """Return the mean loss of labelled images and the ranking loss of the module."""
        return LossPredictionObjective(setting)


def predicted_losses(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    x: NDArray[np.float32],
    *,
    batch_size: int = 128,
    device: str = "cpu",
) -> NDArray[np.float32]:
    """Return the losses that the module beside a network predicts, in eval mode and without augmentation.

    They are in no unit: the module learns their order alone.

    Args:
        model: the network; its mode, device and hooks are afterwards what they were.
        weights: of the module, what ``Trained.beside`` holds after a training by ``loss-prediction``.
        x: normalised inputs, float32 ``[N, C, H, W]``.
        batch_size: images in one forward pass.
        device: where to compute.

    Returns:
        float32 ``[N]``.

    Raises:
        TrainerError: the weights are not those of such a module for this network.

    """
    taps = find_taps(model, x.shape[1:])
    with torch.device("meta"):  # weights that are not drawn: torch's generators stay as they are
        predictor = LossPrediction([tap.width for tap in taps])
    _fill(predictor, weights)
    return predict(_Predicting(model, predictor, taps), x, batch_size=batch_size, device=device)


class _Predicting(nn.Module):
    """Inputs to predicted losses."""

    def __init__(self, model: nn.Module, predictor: LossPrediction, taps: Sequence[Tap]) -> None:
        super().__init__()
        self.model, self.predictor, self.taps = model, predictor, taps
        self.training = model.training  # what the network's mode goes back to

    def forward(self, x: Tensor) -> Tensor:
        with reading(self.model, self.taps) as features:
            self.model(x)
        predicted: Tensor = self.predictor(features)
        return predicted


def _fill(predictor: LossPrediction, weights: Mapping[str, Tensor]) -> None:
    """Give a module its weights, or refuse them in one line."""
    expected = {name: list(tensor.shape) for name, tensor in predictor.state_dict().items()}
    found = {name: list(tensor.shape) for name, tensor in weights.items()}
    if found != expected:
        raise TrainerError(
            f"the learner loss-prediction: expected the weights of a module with {expected} beside this network, got "
            f"{found}: train again"
        )
    copies = {name: tensor.detach().clone() for name, tensor in weights.items()}
    predictor.load_state_dict(copies, assign=True)
