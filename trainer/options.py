"""How a network is trained, with the defaults that suit each family."""

import math
from dataclasses import dataclass, replace
from typing import Any

from common.losses import LOSSES, get_loss
from trainer.data.augment import AUGMENTATIONS
from trainer.errors import TrainerError
from trainer.models import family_of


@dataclass(frozen=True)
class TrainOptions:
    """How a network is trained; ``options_for`` fills in the defaults that suit a network family.

    Args:
        epochs: the most passes over the labelled set.
        batch_size: the most images in one step; an epoch is cut into steps of equal size, to within one image.
        max_lr: learning rate at the top of the cycle.
        momentum: of SGD, constant through the cycle.
        weight_decay: of SGD, on every parameter.
        loss: a key of ``common.losses.LOSSES``.
        tolerance: training stops once ``||R||_F / sqrt(L)`` is at most this; 0 means never before the last epoch.
        augment: a key of ``trainer.data.augment.AUGMENTATIONS``; training batches only.

    Raises:
        TrainerError: a value that makes no sense, or an unknown loss or augmentation.

    """

    epochs: int = 400
    batch_size: int = 128
    max_lr: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 1e-4
    loss: str = "l2"
    tolerance: float = 0.03
    augment: str = "none"

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, "epochs must be at least 1", self.epochs)
        _require(self.batch_size >= 1, "batch_size must be at least 1", self.batch_size)
        _require(0 < self.max_lr < math.inf, "max_lr must be positive and finite", self.max_lr)
        _require(0 <= self.momentum < 1, "momentum must be in [0, 1)", self.momentum)
        _require(0 <= self.weight_decay < math.inf, "weight_decay must be 0 or more", self.weight_decay)
        _require(0 <= self.tolerance < math.inf, "tolerance must be 0 or more", self.tolerance)
        _require(self.loss in LOSSES, f"loss must be one of {', '.join(LOSSES)}", self.loss)
        _require(self.augment in AUGMENTATIONS, f"augment must be one of {', '.join(AUGMENTATIONS)}", self.augment)


def options_for(model: str, **overrides: Any) -> TrainOptions:
    """Return training options with the defaults of a network family, its learning rate scaled to the loss.

    Args:
        model: a key of ``trainer.models.MODELS``, or ``PKG.MOD:FACTORY``, whose learning rate is low.
        **overrides: fields of ``TrainOptions``; a value of None leaves the default.

    Raises:
        TrainerError: unknown model, unknown field, or a value that makes no sense.

    """
    given = {name: value for name, value in overrides.items() if value is not None}
    unknown = sorted(set(given) - set(TrainOptions.__dataclass_fields__))
    if unknown:
        raise TrainerError(
            f"there is no training option {unknown[0]!r}; choose from {', '.join(TrainOptions.__dataclass_fields__)}"
        )
    options = replace(TrainOptions(), **{**family_of(model).training, **given})
    return options if "max_lr" in given else replace(options, max_lr=options.max_lr * get_loss(options.loss).lr_scale)


def _require(condition: bool, expected: str, value: object) -> None:
    if not condition:
        raise TrainerError(f"{expected}, got {value!r}")
