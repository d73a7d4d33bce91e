"""The steps of a training without labels, each drawn by the seed and its number: it can stop anywhere and go on."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.data.by_id import Stored
from trainer.errors import Diverged
from trainer.pretraining import METHODS
from trainer.pretraining.base import Encoder
from trainer.pretraining.views import Viewer, ViewOptions

WARM_UP = 0.1
"""Share of the steps in which the learning rate rises."""
TRIALS = 3
"""Steps that are timed, after one that warms up."""


@dataclass(frozen=True)
class Pixels:
    """Images without labels, as they are stored, with the constants that make network inputs of them.

    Args:
        images: uint8 ``[N, C, H, W]``; no features.
        scale: what a byte is divided by.
        mean: per channel, after that division.
        std: per channel, likewise.

    """

    images: Stored
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Regime:
    """How features are learned.

    Args:
        method: a key of ``METHODS``.
        batch_size: B, images in a step; at least 2, and no more than there are.
        max_lr: the highest learning rate, of AdamW.
        weight_decay: of AdamW.
        views: what two views of an image may differ by.
        low_precision: whether the network's products are computed in bfloat16.
        seed: of every choice.

    """

    method: str
    batch_size: int
    max_lr: float
    weight_decay: float
    views: ViewOptions
    low_precision: bool
    seed: int


class Training:
    """A network that learns features, what is trained beside it, the optimiser's state, and the number of steps done.

    The images of a step, their views and what dropout drops are drawn from streams that the seed and the number of the
    step make, so that no generator's state is to be kept: weights, optimiser and number are all that a step depends on.

    Args:
        net: the network without its last layer; trained in place, on its device.
        d: numbers of its features.
        pixels: the images.
        regime: how it learns.
        steps: of the whole training, by which the learning rate rises and falls.

    """

    def __init__(self, net: nn.Module, d: int, pixels: Pixels, regime: Regime, steps: int) -> None:
        self.regime, self.images, self.steps, self.done = regime, pixels.images, steps, 0
        self.device = next(net.parameters()).device
        self.encoder = Encoder(net.train().to(memory_format=torch.channels_last), regime.low_precision)
        self.viewer = Viewer(regime.views, pixels.scale, pixels.mean, pixels.std)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(regime.seed)
            self.task = METHODS[regime.method].task(self.encoder, d).to(self.device).train()
        trained = [*self.encoder.parameters(), *self.task.parameters()]
        self.parameters = [parameter for parameter in trained if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, regime.max_lr, weight_decay=regime.weight_decay)
        self.order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))  # epoch, and its images

    @property
    def steps_per_epoch(self) -> int:
        """How often all images fit into whole batches; what is left over is another part of them in each epoch."""
        return len(self.images) // self.regime.batch_size

    def step(self) -> float:
        """Take the next step.

        Returns:
            The loss.

        Raises:
            Diverged: it is not finite; the weights are no longer of use.

        """
        regime = self.regime
        views = self.views(self.done)
        for group in self.optimizer.param_groups:
            group["lr"] = regime.max_lr * rate(self.done, self.steps)
        with seeded(self.seed("dropout", self.done), self.device):
            loss = self.task(self.encoder, views)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.done += 1
        self.task.after_step(self.encoder, self.done / self.steps)
        value = loss.item()
        if not math.isfinite(value):
            raise Diverged(f"the loss was {value} in step {self.done:,} of {self.steps:,}", regime.max_lr)
        return value

    def views(self, step: int) -> Tensor:
        """Return two views of each image of a step, ``[2 B, C, H, W]``.

        Args:
            step: its number, from 0.

        """
        generator = torch.Generator().manual_seed(self.seed("views", step))
        images = torch.from_numpy(self.images[self.chosen(step)])
        views = torch.cat([self.viewer(images, generator) for _ in range(2)])
        return views.to(self.device, memory_format=torch.channels_last)

    def chosen(self, step: int) -> NDArray[np.int64]:
        """Return which images a step learns from, ``[B]``.

        Args:
            step: its number, from 0.

        """
        epoch, position = divmod(step, self.steps_per_epoch)
        if self.order[0] != epoch:
            order = np.random.default_rng(self.seed("order", epoch)).permutation(len(self.images))
            self.order = epoch, order
        B = self.regime.batch_size
        return np.sort(self.order[1][position * B : (position + 1) * B])

    def seed(self, use: str, number: int) -> int:
        """Return the seed of an independent stream.

        Args:
            use: what is drawn.
            number: of the step or epoch.

        """
        return int(np.random.SeedSequence([self.regime.seed, number, *use.encode()]).generate_state(1)[0])

    def state(self) -> dict[str, Tensor]:
        """Return everything that the next step depends on but for the images and the regime, by name."""
        state = {f"encoder.{name}": value for name, value in self.encoder.state_dict().items()}
        state |= {f"task.{name}": value for name, value in self.task.state_dict().items()}
        for number, parameter in enumerate(self.parameters):
            for name, value in self.optimizer.state[parameter].items():
                state[f"optimizer.{number}.{name}"] = value
        return state | {"done": torch.tensor(self.done)}

    def go_on_from(self, state: dict[str, Tensor]) -> None:
        """Take over what ``state`` returned; every tensor keeps the layout in memory that it has here.

        Args:
            state: as ``state`` gave it, of the same regime and network.

        Raises:
            KeyError: something is missing.
            RuntimeError: a tensor has another shape.

        """
        self.done = int(state["done"])
        for name, module in (("encoder", self.encoder), ("task", self.task)):
            module.load_state_dict(_within(name, state))
        for number, parameter in enumerate(self.parameters):
            for name, value in _within(f"optimizer.{number}", state).items():
                like = torch.empty_like(parameter) if value.shape == parameter.shape else torch.empty_like(value)
                self.optimizer.state[parameter][name] = like.copy_(value)

    def seconds_a_step(self) -> float:
        """Time a few steps; they change the weights, so that this training is of no further use."""
        self.step()
        started = time.perf_counter()
        for _ in range(TRIALS):
            self.step()
        return (time.perf_counter() - started) / TRIALS


def rate(step: int, steps: int) -> float:
    """Return the learning rate as a share of the highest: it rises over a tenth of the steps and falls by a cosine.

    Source: Chen et al. 2020, section 2.2 and B.9; Loshchilov & Hutter 2017, eq. 5.

    Args:
        step: number of the step, from 0.
        steps: how many there are.

    """
    warm_up = max(1, round(WARM_UP * steps))
    return min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps))


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators, for dropout, and put them back afterwards.

    Args:
        seed: of the generators.
        device: that of the network.

    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _within(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what is named under a prefix, without it."""
    return {name[len(prefix) + 1 :]: value for name, value in state.items() if name.startswith(f"{prefix}.")}
