"""One attempt at a training: one schedule of the learning rate from its first step to its end."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.losses import get_loss
from trainer.attempted import Attempt, copy_of, held_out_rows, steps_per_epoch
from trainer.batch_norm import CHUNK, has_batch_norm, restate_statistics
from trainer.batches import Epochs
from trainer.errors import Diverged
from trainer.learners.base import EpochRecord, Inputs, Learner, OnEpoch, Setting, Weights
from trainer.options import TrainOptions
from trainer.regimes import OPTIMIZERS, SCHEDULES, Ended, Ending, grouped
from trainer.restarts import Failure, all_equal, blew_up, constant_residual, is_at_chance, ran_away
from trainer.resumable import generators, optimizer_state, restore_generators, restore_optimizer

OnStep = Callable[[int, int], None]
"""Told, after every step, of those done and of all."""


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
        passes = steps_per_epoch(len(self.x), options.batch_size, has_batch_norm(model))
        self.steps = options.epoch_steps or passes
        total = self.steps * options.epochs
        setting = Setting(model, self.x, targets, unlabelled, options, self.generator, beside, total)
        self.objective = learner.objective(setting)
        if self.objective.module is not None:
            self.objective.module.to(device)
        self.batches = Epochs(
            len(self.x), options.batch_size, self.steps, options.epoch_steps is not None, self.generator
        )
        self.left = model if self.objective.averaged is None else self.objective.averaged  # what training leaves
        self.modules = [model] if self.objective.module is None else [model, self.objective.module]
        self.states = [*self.modules, *([] if self.left is model else [self.left])]
        self.parameters = [p for module in self.modules for p in module.parameters() if p.requires_grad]
        self.optimizer = OPTIMIZERS[options.optimizer].build(grouped(self.parameters, options), options)
        self.schedule = SCHEDULES[options.schedule].build(self.optimizer, options, self.steps)
        self.ending = Ending(options)
        self.snapshots: dict[int, Weights] = {}
        self.best: list[Weights] | None = None  # of each of the states
        self.history: list[EpochRecord] = []
        self.first_lr = options.max_lr  # of the present epoch
        self.totals: list[Tensor | None] = [None, None]  # of the present epoch: loss and the network's own

    def attempt(self, on_epoch: OnEpoch | None, on_step: OnStep | None = None) -> Attempt:
        """Run the epochs that are left until the ending is met, the training fails or the limit is reached.

        Args:
            on_epoch: told of every epoch.
            on_step: told of every step.

        """
        options, history = self.options, self.history
        rms, outputs = math.inf, np.empty((0, self.targets.shape[1]), np.float32)
        failure: Failure | None = None
        ended: Ended | None = None
        self._keep(0)
        for epoch in range(len(history) + 1, options.epochs + 1):
            record: EpochRecord = {"epoch": epoch, **self.epoch(epoch, on_step), "residual_rms": None}
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
            student=self._leave_averages(),
        )

    def _leave_averages(self) -> Weights:
        """Give the network the averaged weights, where there are any, and return those that it had."""
        if self.left is self.model:
            return {}
        student = copy_of(self.model)
        self.model.load_state_dict(self.left.state_dict())
        return student

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def done(self) -> int:
        """Steps done."""
        return self.steps * len(self.history) + (0 if self.totals[0] is None else self.batches.taken)

    def epoch(self, number: int, on_step: OnStep | None = None) -> dict[str, float]:
        """Take the steps of an epoch that are left; return its first rate, the mean loss and the network's own.

        Args:
            number: of the epoch, the first being 1.
            on_step: told of every step.

        """
        self.model.train()
        if self.totals[0] is None:
            self.batches.begin()
            self.first_lr = self.lr
            self.totals = [torch.zeros((), device=self.x.device), None]
        total, own = self.totals
        assert total is not None
        while not self.batches.over:
            rows = self.batches.next().to(self.x.device)
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.objective.loss(rows, number)
            loss.backward()
            if self.limited:
                self._limit_gradient()
            self.optimizer.step()
            self.schedule.step()
            self.objective.stepped()
            total += loss.detach() * len(rows)
            if self.objective.own is not None:
                own = self.objective.own * len(rows) + (0 if own is None else own)
            self.totals = [total, own]
            if on_step is not None:
                on_step(self.done, self.steps * self.options.epochs)
        self.first, self.totals = False, [None, None]
        seen = self.batches.images
        return {"lr": self.first_lr, "loss": float(total) / seen} | (
            {} if own is None else {"own_loss": float(own) / seen}
        )

    def state(self) -> dict[str, Any]:
        """Return what the steps that are left depend on, between two of them, beside what the attempt is made from."""
        return {
            "states": [dict(module.state_dict()) for module in self.states],
            "objective": self.objective.state(),
            "optimizer": optimizer_state(self.optimizer, self.schedule),
            "batches": self.batches.state(),
            "generators": [self.generator.get_state(), *generators(self.x.device)],
            "gradients": [self.longest, self.first, self.shortened],
            "ending": [self.ending.lowest, self.ending.best_epoch],
            "snapshots": [[epoch, weights] for epoch, weights in self.snapshots.items()],
            "best": self.best,
            "history": self.history,
            "totals": self.totals,
            "first_lr": self.first_lr,
        }

    def go_on_from(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` returned.

        Args:
            state: of an attempt that is made from the same.

        """
        self._go_back(state["states"])
        self.objective.go_on_from(state["objective"])
        restore_optimizer(self.optimizer, self.schedule, state["optimizer"])
        self.batches.go_on_from(state["batches"])
        self.generator.set_state(state["generators"][0])
        restore_generators(self.x.device, state["generators"][1:])
        self.longest, self.first, self.shortened = state["gradients"]
        self.ending.lowest, self.ending.best_epoch = state["ending"]
        self.snapshots = dict(state["snapshots"])
        self.best, self.history = state["best"], state["history"]
        self.first_lr = state["first_lr"]
        self.totals = [None if total is None else total.to(self.x.device) for total in state["totals"]]

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
        outputs = torch.cat([self.left(rows) for rows in self.all.split(CHUNK)]).cpu().numpy()  # [L, C]
        with np.errstate(invalid="ignore"):  # the softmax of outputs that are infinite, which end training
            R = self.value.residual(outputs[self.rows], self.targets[self.rows])  # [L, C]
        return float(np.sqrt(np.square(R).sum() / len(R))), outputs

    def _settle(self) -> None:
        """Put the network into eval mode, with the statistics that the regime says."""
        if self.options.batch_norm == "restated":
            restate_statistics(self.left, self.x)
        self.left.eval()

    def _go_back(self, states: list[Weights]) -> None:
        for module, state in zip(self.states, states, strict=True):
            module.load_state_dict(state)

    def _keep(self, epoch: int) -> None:
        if epoch in self.options.keep_epochs and epoch not in self.snapshots:
            if epoch:
                self._settle()
            self.snapshots[epoch] = {name: tensor.cpu() for name, tensor in copy_of(self.left).items()}

    def _look_at_held_out(self, epoch: int, outputs: NDArray[np.float32]) -> float:
        """Return the mean loss of the held-out images, and keep the weights where it is the lowest so far."""
        f, y = (torch.from_numpy(array[self.held_out]) for array in (outputs, self.targets))
        loss = float(self.value.value(f, y))
        if self.ending.improves(epoch, loss):
            self.best = [copy_of(module) for module in self.states]
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
