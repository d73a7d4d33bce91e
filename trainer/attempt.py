"""One attempt at a training: one schedule of the learning rate from its first step to its end."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.losses import get_loss
from trainer.batch_norm import CHUNK, has_batch_norm, restate_statistics
from trainer.errors import Diverged, TrainerError
from trainer.learners.base import EpochRecord, Inputs, Learner, OnEpoch, Setting, Weights
from trainer.options import TrainOptions
from trainer.regimes import OPTIMIZERS, SCHEDULES, Ended, Ending
from trainer.restarts import Failure, all_equal, blew_up, constant_residual, is_at_chance, ran_away

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
    k = round(1 / share)
    if n_labelled < k:
        raise TrainerError(
            f"holdout: expected at least {k} labels to hold a share of {share:g} of them out, got {n_labelled}; "
            "label more, or set holdout and patience to nothing"
        )
    return np.arange(k - 1, n_labelled, k)


class Run:
    """The state of one attempt: everything resident on the device, no data loader between.

    Args:
        model: the network, on the device, at the weights that it starts from.
        learner: what is minimised.
        x: labelled inputs ``[L, C, H, W]``.
        y: one-hot targets ``[L, C]``.
        unlabelled: inputs without labels.
        options: the regime.
        seed: of its random choices.
        device: where.
        limited: whether gradients are limited to the longest of the first epoch.
        beside: the weights that what is trained beside the network starts from; None for new ones.

    """

    def __init__(
        self,
        model: nn.Module,
        learner: Learner,
        x: Tensor,
        y: NDArray[np.float32],
        unlabelled: Inputs | None,
        options: TrainOptions,
        seed: int,
        device: torch.device,
        limited: bool,
        beside: Mapping[str, Tensor] | None,
    ) -> None:
        self.model, self.options, self.limited = model, options, limited
        self.longest, self.first = 0.0, True  # gradient of the first epoch, and whether that is running
        self.shortened = False  # whether any was
        self.held_out = held_out_rows(len(x), options.holdout)
        self.rows = np.setdiff1d(np.arange(len(x)), self.held_out)
        self.targets = y
        self.constant = constant_residual(y[self.rows])
        self.value = get_loss(options.loss)
        self.all = x.to(device)
        trained = torch.from_numpy(self.rows).to(device)
        self.x = self.all[trained] if len(self.held_out) else self.all
        self.generator = torch.Generator().manual_seed(seed)
        targets = torch.from_numpy(y[self.rows]).to(device)
        setting = Setting(model, self.x, targets, unlabelled, options, self.generator, beside)
        self.objective = learner.objective(setting)
        if self.objective.module is not None:
            self.objective.module.to(device)
        self.steps = steps_per_epoch(len(self.x), options.batch_size, has_batch_norm(model))
        self.modules = [model] if self.objective.module is None else [model, self.objective.module]
        self.parameters = [p for module in self.modules for p in module.parameters() if p.requires_grad]
        self.optimizer = OPTIMIZERS[options.optimizer].build(self.parameters, options)
        self.schedule = SCHEDULES[options.schedule].build(self.optimizer, options, self.steps)
        self.ending = Ending(options)
        self.snapshots: dict[int, Weights] = {}
        self.best: list[Weights] | None = None  # of each of the modules

    def attempt(self, on_epoch: OnEpoch | None) -> Attempt:
        """Run epochs until the ending is met, the training fails or the limit is reached.

        Args:
            on_epoch: told of every epoch.

        """
        options, history = self.options, list[EpochRecord]()
        rms, outputs = math.inf, np.empty((0, self.targets.shape[1]), np.float32)
        failure: Failure | None = None
        ended: Ended | None = None
        self._keep(0)
        for epoch in range(1, options.epochs + 1):
            record: EpochRecord = {"epoch": epoch, "lr": self.lr, **self.epoch(epoch), "residual_rms": None}
            finite = math.isfinite(record["loss"])
            if looked := finite and self.ending.looks(epoch):
                rms, outputs = self.measure()
                record["residual_rms"] = rms
                finite = math.isfinite(rms)
            if not finite:
                failure = "diverged"
                break
            if looked and len(self.held_out):
                record["held_out_loss"] = self._look_at_held_out(epoch, outputs)
            history.append(record)
            self._keep(epoch)
            if on_epoch is not None:
                on_epoch(record)
            if not looked:
                continue
            if ended := self.ending.met(epoch, rms, self._accuracy(outputs)):
                break
            if failure := self.failure(rms, outputs, history):
                break
        if failure is None and self.best is not None:
            self._go_back(self.best)
            rms, outputs = self.measure()
        at_chance = failure not in (None, "diverged") and is_at_chance(
            outputs[self.rows], self.targets[self.rows], rms / self.constant
        )
        return Attempt(
            max_lr=options.max_lr,
            epochs=epoch,
            ended=ended or "epochs",
            rms=rms,
            outputs=outputs,
            history=history,
            failure=failure,
            at_chance=at_chance,
            limited=self.limited,
            rows=self.rows,
            held_out=self.held_out,
            snapshots=self.snapshots,
            beside=copy_of(self.modules[1]) if len(self.modules) > 1 else {},
        )

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def epoch(self, number: int) -> dict[str, float]:
        """Pass once over the images in a fresh random order; return the mean loss, and the network's own share of it.

        Args:
            number: of the epoch, the first being 1.

        """
        self.model.train()
        total, own = torch.zeros((), device=self.x.device), None
        order = torch.randperm(len(self.x), generator=self.generator).to(self.x.device)
        for rows in order.tensor_split(self.steps):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.objective.loss(rows, number)
            loss.backward()
            if self.limited:
                self._limit_gradient()
            self.optimizer.step()
            self.schedule.step()
            total += loss.detach() * len(rows)
            if self.objective.own is not None:
                own = self.objective.own * len(rows) + (0 if own is None else own)
        self.first = False
        return {"loss": float(total) / len(self.x)} | ({} if own is None else {"own_loss": float(own) / len(self.x)})

    def _limit_gradient(self) -> None:
        """Shorten a gradient that is longer than all of the first epoch; in the first, find the longest."""
        most = math.inf if self.first else self.longest
        length = float(nn.utils.clip_grad_norm_(self.parameters, most))
        if self.first:
            self.longest = max(self.longest, length)
        else:
            self.shortened = self.shortened or length > self.longest

    @torch.no_grad()
    def measure(self) -> tuple[float, NDArray[np.float32]]:
        """Return ``||R||_F / sqrt(L)`` of the images trained on, and all outputs ``[L, C]``, in eval mode.

        The statistics of batch norm are those of the present weights, unless the regime leaves them as they run.
        """
        self._settle()
        parts = [self.model(rows.clone()) for rows in self.all.split(CHUNK)]  # a layer may work in place
        outputs = torch.cat(parts).cpu().numpy()  # [L, C]
        with np.errstate(invalid="ignore"):  # the softmax of outputs that are infinite, which end training
            R = self.value.residual(outputs[self.rows], self.targets[self.rows])  # [L, C]
        return float(np.sqrt(np.square(R).sum() / len(R))), outputs

    def _settle(self) -> None:
        """Put the network into eval mode, with the statistics that the regime says."""
        if self.options.batch_norm == "restated":
            restate_statistics(self.model, self.x)
        self.model.eval()

    def _go_back(self, states: list[Weights]) -> None:
        for module, state in zip(self.modules, states, strict=True):
            module.load_state_dict(state)

    def _keep(self, epoch: int) -> None:
        if epoch in self.options.keep_epochs:
            if epoch:
                self._settle()
            self.snapshots[epoch] = {name: tensor.cpu() for name, tensor in copy_of(self.model).items()}

    def _look_at_held_out(self, epoch: int, outputs: NDArray[np.float32]) -> float:
        """Return the mean loss of the held-out images, and keep the weights where it is the lowest so far."""
        f, y = (torch.from_numpy(array[self.held_out]) for array in (outputs, self.targets))
        loss = float(self.value.value(f, y))
        if self.ending.improves(epoch, loss):
            self.best = [copy_of(module) for module in self.modules]
        return loss

    def _accuracy(self, outputs: NDArray[np.float32]) -> float:
        right = outputs[self.rows].argmax(axis=1) == self.targets[self.rows].argmax(axis=1)
        return float(right.mean())

    def failure(self, rms: float, outputs: NDArray[np.float32], history: list[EpochRecord]) -> Failure | None:
        """Tell why it is of no use to go on, or of use to begin again at the epoch limit; None where it is not.

        Args:
            rms: the residual.
            outputs: of all labelled images ``[L, C]``.
            history: the epochs so far.

        """
        if self.constant == 0:  # one class: a constant is all that there is to learn
            return None
        dead, share = all_equal(outputs), rms / self.constant
        losses = [record["own_loss" if "own_loss" in record else "loss"] for record in history]
        if not dead and len(history) < self.options.epochs:
            return None
        if ran_away(losses, share):
            return "diverged"
        if dead:
            return "dead"
        return "blew up" if blew_up(losses, share) else None

    def refuse_broken(self) -> None:
        """Refuse images and weights whose outputs are not finite before the first step: no rate is low enough."""
        if not math.isfinite(self.measure()[0]):
            raise Diverged(
                "training diverged before the first step, which no learning rate can help: the network's outputs for "
                "the labelled images are not finite; check these and the weights that training starts from"
            )


def steps_per_epoch(n_labelled: int, batch_size: int, batch_norm: bool) -> int:
    """Count the equal steps that an epoch is cut into, none larger than ``batch_size`` if that can be.

    With batch norm no step has fewer than two images, so that a last batch of one never arises.

    Args:
        n_labelled: labelled images L, at least 1.
        batch_size: the most images in one step.
        batch_norm: whether the network contains batch norm.

    """
    steps = math.ceil(n_labelled / batch_size)
    return max(1, min(steps, n_labelled // 2)) if batch_norm else steps
