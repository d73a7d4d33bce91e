"""Training to convergence by SGD with one learning-rate cycle."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.losses import get_loss
from trainer.batch_norm import CHUNK, has_batch_norm, restate_statistics
from trainer.data.augment import AUGMENTATIONS
from trainer.errors import Diverged, TrainerError
from trainer.options import TrainOptions
from trainer.predict import accuracy, placed
from trainer.targets import one_hot

WARM_UP = 0.3  # fraction of the cycle in which the learning rate rises
CHECK_EVERY = 5  # epochs between two looks at the residual, once the learning rate falls
EpochRecord = dict[str, Any]


@dataclass(frozen=True)
class FitResult:
    """What training left behind; the weights are in the model that was passed.

    Args:
        epochs: epochs run.
        converged: whether the residual came under the tolerance.
        residual_norm: ``||R||_F``, ``R = Y - f(X)`` in eval mode (for cross-entropy, ``Y - softmax(f(X))``).
        residual_rms: ``||R||_F / sqrt(L)``, what the tolerance is compared with.
        train_accuracy: fraction of the labelled images classified right.
        history: one record an epoch: epoch, loss, lr, and residual_rms where it was measured (else None).
        seconds: wall-clock time of training.

    """

    epochs: int
    converged: bool
    residual_norm: float
    residual_rms: float
    train_accuracy: float
    history: list[EpochRecord]
    seconds: float


def fit(
    model: nn.Module,
    x: NDArray[np.float32],
    labels: NDArray[np.int64],
    num_classes: int,
    options: TrainOptions,
    *,
    seed: int,
    device: str = "cpu",
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> FitResult:
    """Train a network in place until its training residual is under the tolerance, or to the epoch limit.

    SGD with momentum and weight decay under the 1cycle policy (Smith & Topin 2019): the learning rate rises from
    max_lr/25 over the first 30 % of the steps and falls to nearly 0 by a cosine. While it falls, every fifth epoch, and
    after the last one, the residual

        ||R||_F / sqrt(L),   R = Y - readout(f(X))   [L, C], in eval mode, without augmentation

    is measured, the readout being the loss's (``common.losses``): f itself for l2, its softmax for cross-entropy.
    Training stops when it is at most ``options.tolerance``. Before each measurement the running statistics of batch
    norm are taken afresh from the labelled images (``trainer.batch_norm``). An epoch is cut into steps of equal size,
    so there is no small last batch.

    Args:
        model: the network, starting from the weights it holds (a fresh build is a cold start, the weights of the
            cycle before a warm one). It is left on its device, in eval mode.
        x: normalised inputs, float32 ``[L, C, H, W]``.
        labels: class numbers ``[L]``.
        num_classes: number of classes.
        options: how to train.
        seed: of the order of images, augmentation and dropout. The same seed, start and machine give
            bit-identical weights on the CPU; torch's global generators are left as they were.
        device: where to train, e.g. "cpu" or "cuda:0".
        on_epoch: called after every epoch with its record.

    Returns:
        Residual, accuracy and history.

    Raises:
        Diverged: the loss or the outputs are not finite; the weights are then useless.
        TrainerError: inputs that do not belong together.

    """
    started = time.perf_counter()
    y = _targets(model, x, labels, num_classes)
    with placed(model, device), _seeded(seed, device):
        run = _Run(model, torch.from_numpy(np.array(x)), y, options, seed, torch.device(device))
        history: list[EpochRecord] = []
        rms, outputs = math.inf, np.empty((0, num_classes), np.float32)
        for epoch in range(1, options.epochs + 1):
            record: EpochRecord = {"epoch": epoch, "lr": run.lr, "loss": run.epoch(), "residual_rms": None}
            _refuse_divergence(record["loss"], epoch, record["lr"])
            if run.should_check(epoch):
                rms, outputs = run.measure()
                record["residual_rms"] = rms
                _refuse_divergence(rms, epoch, record["lr"])
            history.append(record)
            if on_epoch is not None:
                on_epoch(record)
            if rms <= options.tolerance:
                break
    return FitResult(
        epochs=len(history),
        converged=rms <= options.tolerance,
        residual_norm=rms * math.sqrt(len(x)),
        residual_rms=rms,
        train_accuracy=accuracy(outputs, labels),
        history=history,
        seconds=time.perf_counter() - started,
    )


class _Run:
    """The state of one call to ``fit``: everything resident on the device, no data loader between."""

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        y: NDArray[np.float32],
        options: TrainOptions,
        seed: int,
        device: torch.device,
    ) -> None:
        self.model, self.options, self.targets = model, options, y
        self.x, self.y = x.to(device), torch.from_numpy(y).to(device)
        self.loss = get_loss(options.loss)
        self.augment = AUGMENTATIONS[options.augment]
        self.generator = torch.Generator().manual_seed(seed)
        self.steps = steps_per_epoch(len(x), options.batch_size, has_batch_norm(model))
        self.optimizer = torch.optim.SGD(
            [parameter for parameter in model.parameters() if parameter.requires_grad],
            lr=options.max_lr,
            momentum=options.momentum,
            weight_decay=options.weight_decay,
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=options.max_lr,
            total_steps=options.epochs * self.steps + 1,
            pct_start=WARM_UP,
            cycle_momentum=False,
        )

    @property
    def lr(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def epoch(self) -> float:
        """Pass once over the images in a fresh random order; return the mean loss."""
        self.model.train()
        total = torch.zeros((), device=self.x.device)
        order = torch.randperm(len(self.x), generator=self.generator).to(self.x.device)
        for rows in order.tensor_split(self.steps):
            self.optimizer.zero_grad(set_to_none=True)
            outputs = self.model(self.augment(self.x[rows], self.generator))
            loss = self.loss.value(outputs, self.y[rows])
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            total += loss.detach() * len(rows)
        return float(total) / len(self.x)

    def should_check(self, epoch: int) -> bool:
        last = self.options.epochs
        return epoch == last or (epoch > WARM_UP * last and epoch % CHECK_EVERY == 0)

    @torch.no_grad()
    def measure(self) -> tuple[float, NDArray[np.float32]]:
        """Return ``||R||_F / sqrt(L)`` and outputs ``[L, C]`` in eval mode, with statistics of the present weights."""
        restate_statistics(self.model, self.x)
        outputs = torch.cat([self.model(rows) for rows in self.x.split(CHUNK)]).cpu().numpy()  # [L, C]
        with np.errstate(invalid="ignore"):  # the softmax of outputs that are infinite, which end training
            R = self.loss.residual(outputs, self.targets)  # [L, C]
        return float(np.sqrt(np.square(R).sum() / len(R))), outputs


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


def _targets(
    model: nn.Module, x: NDArray[np.float32], labels: NDArray[np.int64], num_classes: int
) -> NDArray[np.float32]:
    """Return one-hot targets ``[L, C]``, after checking that inputs, labels and network belong together."""
    if x.ndim != 4 or x.dtype != np.float32 or len(x) != len(labels) or len(x) == 0:
        raise TrainerError(
            f"fit needs float32 inputs [L, C, H, W] with L >= 1 and L labels, got {x.dtype} {list(x.shape)} and "
            f"{len(labels)} labels"
        )
    if len(x) == 1 and has_batch_norm(model):
        raise TrainerError("a network with batch norm needs at least 2 labelled images, got 1; label one more")
    return one_hot(labels, num_classes)


def _refuse_divergence(value: float, epoch: int, lr: float) -> None:
    if not math.isfinite(value):
        raise Diverged(
            f"training diverged: the loss or the outputs are {value} in epoch {epoch} at learning rate {lr:.3g}; "
            "try a tenth of that rate (train.max_lr, --max-lr)"
        )


@contextmanager
def _seeded(seed: int, device: str) -> Iterator[None]:
    """Seed torch's global generators, for dropout, and put them back afterwards."""
    devices = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices), torch.backends.cudnn.flags(deterministic=True, benchmark=False):
        torch.manual_seed(seed)
        yield
