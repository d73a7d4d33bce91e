"""One call of a training without labels: begin it or go on with it, and leave what the next call needs."""

import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.checkpoint import weight_bytes
from trainer.errors import CheckpointError, Diverged
from trainer.predict import predict
from trainer.pretraining.folder import CHECKPOINT, Folder
from trainer.pretraining.probe import NEIGHBOURS, neighbours_accuracy
from trainer.pretraining.progress import KEPT_EVERY, Clock, duration, told_to_stop
from trainer.pretraining.training import Training

LOOKS = 10
"""How often the neighbours of labelled images are looked at."""


@dataclass
class Watched:
    """Labelled images whose neighbours are looked at while features are learned; nothing depends on them.

    Args:
        x: network inputs ``[N, C, H, W]``; none where too few have a label.
        labels: class numbers ``[N]``.

    """

    x: NDArray[np.float32]
    labels: NDArray[np.int64]

    def accuracy(self, net: nn.Module) -> float | None:
        """Return the share whose class most of their neighbours have; None without labels.

        Args:
            net: the network without its last layer; its mode is afterwards what it was.

        """
        if len(self.x) <= NEIGHBOURS:
            return None
        device = str(next(net.parameters()).device)
        h = predict(net, self.x, device=device)
        return neighbours_accuracy(h.reshape(len(h), -1), self.labels)


@dataclass
class Session:
    """A training in its folder.

    Args:
        training: at its first step.
        folder: begun.
        watched: labelled images to look at.
        say: is told each line.
        losses: the mean of every epoch so far.
        looks: after so many steps (first column), the accuracy of neighbours (second).

    """

    training: Training
    folder: Folder
    watched: Watched
    say: Callable[[str], None]
    losses: list[float] = field(default_factory=list)
    looks: list[tuple[int, float]] = field(default_factory=list)
    _sum: float = 0.0
    _count: int = 0

    def run(self) -> None:
        """Take the steps that are left.

        Raises:
            KeyboardInterrupt: it was interrupted; what was done is kept.
            Diverged: the loss is not finite.
            CheckpointError: what was kept is damaged.

        """
        training = self.training
        if (state := self.folder.kept()) is not None:
            self._go_on_from(state)
            self.say(f"goes on after step {training.done:,} of {training.steps:,}")
        clock = Clock(training.done, training.steps)
        with told_to_stop() as stop:
            while training.done < training.steps:
                self._step()
                if clock.to_say(training.done):
                    self._say(clock)
                number = stop()
                if number is not None or clock.to_keep(KEPT_EVERY) or training.done == training.steps:
                    self.folder.keep(self._state())
                if number is not None and training.done < training.steps:
                    self._leave(number)

    def _step(self) -> None:
        training = self.training
        epoch = training.done // training.steps_per_epoch
        if epoch >= len(self.losses):
            self.losses.append(0.0)
            self._sum, self._count = 0.0, 0
        try:
            self._sum += training.step()
        except Diverged as error:
            rate = training.regime.max_lr / 4
            raise Diverged(f"{error}; try --max-lr={rate:.3g} with another --out", error.max_lr) from error
        self._count += 1
        self.losses[epoch] = self._sum / self._count
        if training.done * LOOKS // training.steps > (training.done - 1) * LOOKS // training.steps:
            accuracy = self.watched.accuracy(training.encoder.net)
            if accuracy is not None:
                self.looks.append((training.done, accuracy))

    def _say(self, clock: Clock) -> None:
        training = self.training
        done, per_epoch = training.done, training.steps_per_epoch
        epochs = -(-training.steps // per_epoch)
        speed = training.regime.batch_size * (done - clock.first) / max(clock.seconds, 1e-9)
        line = f"step {done:,} of {training.steps:,}, epoch {len(self.losses):,} of {epochs:,}: "
        line += f"loss {self.losses[-1]:.3f}, {speed:,.0f} images/s"
        if self.looks:
            line += f", neighbours agree for {self.looks[-1][1]:.1%} of {len(self.watched.labels):,}"
        self.say(line + f", {duration(clock.left(done))} left" * (done < training.steps))

    def _leave(self, number: int) -> None:
        self.say(f"interrupted after step {self.training.done:,}; the same command goes on from there")
        if number == signal.SIGTERM:
            sys.exit(128 + number)
        raise KeyboardInterrupt

    def _state(self) -> dict[str, Tensor]:
        losses = torch.tensor([*self.losses, self._sum, self._count], dtype=torch.float64)
        looks = torch.tensor(self.looks, dtype=torch.float64).reshape(-1, 2)
        return self.training.state() | {"session.losses": losses, "session.looks": looks}

    def _go_on_from(self, state: dict[str, Tensor]) -> None:
        try:
            self.training.go_on_from(state)
            *self.losses, self._sum, count = state["session.losses"].tolist()
            self._count = int(count)
            self.looks = [(int(step), accuracy) for step, accuracy in state["session.looks"].tolist()]
        except (KeyError, RuntimeError, ValueError) as error:
            path = self.folder.path / CHECKPOINT
            raise CheckpointError(f"{path} is not of this training; remove it, and it begins anew") from error

    def finish(self, net: nn.Module, head: str, layer: nn.Linear, record: dict[str, Any]) -> None:
        """Give the network its last layer back, of zeros until there are labels, and write it.

        Args:
            net: the network without it.
            head: its name.
            layer: the layer.
            record: what ``backbone.json`` says beside the losses.

        """
        net.set_submodule(head, layer)
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
        learned = {
            "steps": self.training.steps,
            "losses": self.losses,
            "neighbours": [{"step": step, "accuracy": accuracy} for step, accuracy in self.looks],
        }
        self.folder.finish(weight_bytes(net), record | learned)
