"""How a network is trained, with the defaults that suit each family."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from common.losses import LOSSES, get_loss
from common.naming import did_you_mean
from trainer.data.augment import AUGMENTATIONS
from trainer.data.perturb import PERTURBATIONS
from trainer.errors import TrainerError
from trainer.learners import LEARNERS, LEARNERS_OWN, Learner
from trainer.models import family_of
from trainer.models.on_backbone import PREFIX
from trainer.regimes import OPTIMIZERS, SCHEDULES

STATISTICS = ("restated", "running")
DECAYED = ("all", "weights")
MOST_EPOCHS = 10**7
LEAST_SHARE = 1e-6
LARGEST = 1e30
"""Of a rate: more would be infinite in float32."""
SOLVED: Mapping[str, Any] = {
    "loss": "l2",
    "augment": "none",
    "learner": "supervised",
    "until_accuracy": None,
    "patience": None,
    "holdout": 0.0,
    "keep_epochs": (),
}
"""What a regime without steps can have of these."""


@dataclass(frozen=True)
class TrainOptions:
    """The regime that a network is trained in; ``options_for`` fills in the defaults that suit a network family.

    Args:
        epochs: the most passes over the labelled set; with ``epoch_steps``, the most times so many steps.
        batch_size: the most images in one step; an epoch is cut into steps of equal size, to within one image. With
            ``epoch_steps``, as many in each step, of an endless stream of passes: some twice where there are fewer.
        max_lr: the highest learning rate of the schedule.
        momentum: of SGD, constant unless ``cycle_momentum``; of Adam, its β₁.
        weight_decay: of the optimiser, on what ``decayed`` says.
        loss: a key of ``common.losses.LOSSES``.
        tolerance: training stops once ``||R||_F / sqrt(L)`` is at most this; 0 means never before the last epoch.
        augment: a key of ``trainer.data.augment.AUGMENTATIONS``; training batches only.
        learner: a key of ``trainer.learners.LEARNERS``.
        optimizer: a key of ``trainer.regimes.OPTIMIZERS``.
        schedule: a key of ``trainer.regimes.SCHEDULES``.
        cycle_momentum: whether the momentum falls from 0.95 to 0.85 while the rate of a 1cycle rises, and rises after.
        milestones: shares of the epochs after which ``multi-step`` multiplies the rate by ``decay``.
        decay: that factor.
        until_accuracy: training stops once the accuracy on the images that are trained on is above this; None, never.
        patience: training stops once the loss on the held-out images was not under its lowest for so many epochs, and
            leaves the weights of that epoch; None, never.
        holdout: share of the labelled images that is held out for it: labelled, so paid for, and not trained on.
        batch_norm: the statistics of batch norm in eval mode: ``restated`` takes them afresh from the labelled images
            at the weights that are kept (``trainer.batch_norm``), ``running`` freezes the running averages of training.
        keep_epochs: epochs after which the weights are kept beside the last ones; 0 keeps those at the start.
        restarts: how often a training that fails begins again at a lower rate; 0 for this rate or none.
        ridge: of the optimiser ``exact``, which takes no steps: λ relative to the mean diagonal of the labelled images'
            kernel; None lets leaving one out choose it (``trainer.exact``).
        decayed: ``all`` parameters, or ``weights`` alone: those with two axes or more, so no biases and no batch norm.
        epoch_steps: steps of an epoch, where that is not one pass over the labelled images; the training then has
            K = epochs x epoch_steps of them. None for one pass.
        unlabelled_ratio: μ, images without labels for each labelled one in a step. This and the next five belong to
            learners of such images, which have defaults of their own where they are None.
        unlabelled_weight: λ, of their part of the loss.
        ramp: share of the steps in which that weight rises to λ, of ``mean-teacher`` and ``pi-model``.
        confidence: τ, the least probability of a class that ``fixmatch`` takes for a label.
        ema: how far averaged weights reach back at most: each step leaves this share of them.
        perturb: what images without labels are changed by beyond ``augment``: a key of
            ``trainer.data.perturb.PERTURBATIONS``, or ``auto``: of images rand-augment for ``fixmatch``, shift for
            the others; of features noise.

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
    learner: str = "supervised"
    optimizer: str = "sgd"
    schedule: str = "1cycle"
    cycle_momentum: bool = False
    milestones: tuple[float, ...] = ()
    decay: float = 0.1
    until_accuracy: float | None = None
    patience: int | None = None
    holdout: float = 0.0
    batch_norm: str = "restated"
    keep_epochs: tuple[int, ...] = ()
    restarts: int = 8
    ridge: float | None = None
    decayed: str = "all"
    epoch_steps: int | None = None
    unlabelled_ratio: int | None = None
    unlabelled_weight: float | None = None
    ramp: float | None = None
    confidence: float | None = None
    ema: float | None = None
    perturb: str | None = None

    @property
    def learns_unlabelled(self) -> bool:
        """Whether images without labels have a say, so that the labelled ones' residual need not come to 0."""
        return LEARNERS[self.learner].needs_unlabelled

    @property
    def least_labelled(self) -> int:
        """Labels without which nothing can be held out."""
        return least_labelled(self.holdout)

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, "epochs must be at least 1", self.epochs)
        _require(self.epochs <= MOST_EPOCHS, f"epochs must be at most {MOST_EPOCHS:,}", self.epochs)
        _require(self.batch_size >= 1, "batch_size must be at least 1", self.batch_size)
        _require(0 < self.max_lr <= LARGEST, f"max_lr must be positive and at most {LARGEST:g}", self.max_lr)
        _require(0 <= self.momentum < 1, "momentum must be in [0, 1)", self.momentum)
        _require(0 <= self.weight_decay <= LARGEST, f"weight_decay must be in 0..{LARGEST:g}", self.weight_decay)
        _require(0 <= self.tolerance < math.inf, "tolerance must be 0 or more", self.tolerance)
        _one_of("loss", self.loss, LOSSES)
        _one_of("augment", self.augment, AUGMENTATIONS)
        _one_of("learner", self.learner, LEARNERS)
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("batch_norm", self.batch_norm, STATISTICS)
        _require(0 < self.decay <= 1, "decay must be in (0, 1]", self.decay)
        accuracy, share = self.until_accuracy, self.holdout
        _require(accuracy is None or 0 <= accuracy < 1, "until_accuracy must be in [0, 1), such as 0.99", accuracy)
        _require(self.patience is None or self.patience >= 1, "patience must be at least 1 epoch", self.patience)
        _require(
            share == 0 or LEAST_SHARE <= share <= 0.5,
            f"holdout must be a share of the labelled images, 0 or from {LEAST_SHARE:g} to 0.5",
            share,
        )
        _require(
            (self.patience is None) == (share == 0),
            "patience and holdout must be given together",
            self.patience or share,
        )
        _require(
            all(0 < one < 1 for one in self.milestones),
            "milestones must be shares of the epochs in (0, 1), such as 0.5,0.8",
            self.milestones,
        )
        rising = sorted(set(self.milestones)) == list(self.milestones)
        _require(rising, "milestones must rise", self.milestones)
        stepped = self.schedule == "multi-step"
        _require(
            not stepped or bool(self.milestones),
            "milestones must be given with the schedule multi-step, such as 0.5,0.8",
            "none",
        )
        _require(
            stepped or not self.milestones,
            f"milestones must be left out with the schedule {self.schedule}: they are of multi-step",
            self.milestones,
        )
        self._check_momentum()
        kept = self.keep_epochs
        _require(
            all(0 <= epoch <= self.epochs for epoch in kept), f"keep_epochs must be in 0..epochs ({self.epochs})", kept
        )
        _require(sorted(set(kept)) == list(kept), "keep_epochs must rise", kept)
        _require(0 <= self.restarts <= 20, "restarts must be in 0..20", self.restarts)
        self._check_exact()
        _one_of("decayed", self.decayed, DECAYED)
        self._check_steps()
        self._check_learner()

    def _check_exact(self) -> None:
        exact = self.optimizer == "exact"
        _require(exact or self.ridge is None, "ridge must be left out but for the optimizer exact", self.ridge)
        _require(self.ridge is None or 0 < self.ridge < LARGEST, "ridge must be positive, such as 0.1", self.ridge)
        if exact:
            for name, only in SOLVED.items():
                value = getattr(self, name)
                _require(
                    value == only, f"{name} must be {only!r} with the optimizer exact, which takes no steps", value
                )

    def _check_steps(self) -> None:
        steps = self.epoch_steps
        _require(steps is None or steps >= 1, "epoch_steps must be at least 1", steps)
        most = f"epochs x epoch_steps must be at most {MOST_EPOCHS:,} steps"
        _require(steps is None or steps * self.epochs <= MOST_EPOCHS, most, (self.epochs, steps))

    def _check_learner(self) -> None:
        """Refuse what the learner has no use for, and values that make no sense."""
        for name in LEARNERS_OWN:
            value = getattr(self, name)
            users = ", ".join(learner.name for learner in LEARNERS.values() if name in learner.regime)
            used = name in LEARNERS[self.learner].regime
            _require(value is None or used, f"{name} must be left out of the learner {self.learner}: {users}", value)
        ratio, weight, ramp = self.unlabelled_ratio, self.unlabelled_weight, self.ramp
        _require(ratio is None or 1 <= ratio <= 1000, "unlabelled_ratio must be in 1..1000", ratio)
        _require(weight is None or 0 <= weight <= LARGEST, f"unlabelled_weight must be in 0..{LARGEST:g}", weight)
        _require(ramp is None or 0 <= ramp <= 1, "ramp must be a share of the steps from 0 to 1", ramp)
        sure, ema = self.confidence, self.ema
        _require(sure is None or 0 <= sure <= 1, "confidence must be a probability from 0 to 1", sure)
        _require(ema is None or 0 <= ema < 1, "ema must be in [0, 1)", ema)
        if self.perturb is not None:
            _one_of("perturb", self.perturb, ("auto", *PERTURBATIONS))

    @property
    def images_per_step(self) -> int:
        """The most images that pass through the network in one step."""
        return LEARNERS[self.learner].images_per_step(self)

    def _check_momentum(self) -> None:
        nesterov = self.optimizer == "nesterov"
        _require(self.momentum > 0 or not nesterov, "momentum must be positive with nesterov", self.momentum)
        cycled = self.cycle_momentum
        _require(not cycled or self.schedule == "1cycle", "cycle_momentum must be false but for 1cycle", cycled)
        _require(not cycled or self.momentum > 0, "momentum must be positive with cycle_momentum", self.momentum)


def least_labelled(holdout: float) -> int:
    """Return the labels of which one is held out, k = round(1/holdout); 1 where none is.

    Args:
        holdout: share of the labelled images.

    """
    return round(1 / holdout) if holdout else 1


def options_for(
    model: str,
    model_options: Mapping[str, Any] | None = None,
    *,
    num_classes: int | None = None,
    **overrides: Any,
) -> TrainOptions:
    """Return training options with the defaults of a network family, its learning rate scaled to loss and classes.

    A family that is solved by default takes steps where something is asked for that only steps can do: a rate, a number
    of epochs, another loss, dropout.

    Args:
        model: a key of ``trainer.models.MODELS``, or ``PKG.MOD:FACTORY``, whose learning rate is low.
        model_options: options of the network.
        num_classes: C; None where it is not known yet, or does not matter.
        **overrides: fields of ``TrainOptions``; a value of None leaves the default.

    Raises:
        TrainerError: unknown model, unknown field, or a value that makes no sense.

    """
    given = {name: value for name, value in overrides.items() if value is not None}
    unknown = sorted(set(given) - set(TrainOptions.__dataclass_fields__))
    if unknown:
        raise TrainerError(
            f"there is no training option {unknown[0]!r}; choose from {', '.join(TrainOptions.__dataclass_fields__)}"
            f"{did_you_mean(unknown[0], TrainOptions.__dataclass_fields__)}"
        )
    learner = _learner(given)
    usual = dict(family_of(model).training)
    if usual.get("optimizer") == "exact" and "optimizer" not in given and _takes_steps(given, model_options or {}):
        usual["optimizer"] = "sgd"
    options = replace(TrainOptions(), **{**usual, **learner.regime, **given})
    if model.startswith(PREFIX) and options.batch_norm != "running":
        raise TrainerError(
            f"batch_norm must be running for {model}, which keeps the statistics that it was pretrained with, got "
            f"{options.batch_norm!r}"
        )
    if "max_lr" in given or "max_lr" in learner.regime:
        return options
    if (own := OPTIMIZERS[options.optimizer].max_lr) is not None:
        return replace(options, max_lr=own)
    loss, full = get_loss(options.loss), family_of(model).rated_for
    few = loss.mean_over_classes and full is not None and num_classes is not None and num_classes < full
    rate = options.max_lr * max(2, num_classes) / full if few else options.max_lr  # type: ignore[type-var,operator]
    return replace(options, max_lr=rate * loss.lr_scale)


def _takes_steps(given: Mapping[str, Any], model_options: Mapping[str, Any]) -> bool:
    """Tell whether anything is asked for that what is solved for has not."""
    others = {name: value for name, value in given.items() if name != "ridge"}
    asked = any(name not in SOLVED or value != SOLVED[name] for name, value in others.items())
    return asked or bool(model_options.get("dropout"))


def _learner(given: dict[str, Any]) -> Learner:
    name = given.get("learner", TrainOptions.learner)
    _one_of("learner", name, LEARNERS)
    return LEARNERS[name]


def _one_of(name: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise TrainerError(f"{name} must be one of {', '.join(known)}, got {value!r}{did_you_mean(value, known)}")


def _require(condition: bool, expected: str, value: object) -> None:
    if not condition:
        raise TrainerError(f"{expected}, got {value!r}")
