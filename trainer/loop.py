"""Training to convergence by SGD with one learning-rate cycle, again at a lower rate where one fails."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
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
from trainer.restarts import (
    RESTARTS,
    Failure,
    Restart,
    all_equal,
    blew_up,
    constant_residual,
    falling,
    is_at_chance,
    ran_away,
)
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
        history: one record an epoch: epoch, loss, lr, and residual_rms where it was measured (else None); those of the
            attempt that was kept.
        seconds: wall-clock time of training, restarts included.
        max_lr: the rate at the top of the cycle that was kept, lower than that of the options after restarts.
        restarts: the rates that training went on from, mostly because it failed, in the order in which they were tried.
        at_chance: whether the attempt that was kept failed, and knows no more of the labelled images than a constant.
        limited: whether in that attempt no gradient was longer than those of its first epoch.

    """

    epochs: int
    converged: bool
    residual_norm: float
    residual_rms: float
    train_accuracy: float
    history: list[EpochRecord]
    seconds: float
    max_lr: float
    restarts: tuple[Restart, ...]
    at_chance: bool
    limited: bool

    def attempts(self) -> dict[str, Any]:
        """Return max_lr, limited, restarts and at_chance as they are written to files."""
        restarts = [asdict(restart) for restart in self.restarts]
        return {"max_lr": self.max_lr, "limited": self.limited, "restarts": restarts, "at_chance": self.at_chance}


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
    restarts: int = RESTARTS,
    limited: bool = False,
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

    Training that diverges, dies or blows up (``trainer.restarts``) starts again from the same weights with a quarter of
    max_lr and limited: a gradient longer than all of the first epoch is shortened to the length of the longest of them.
    Where that fits the images but gradients were shortened, one quarter more is tried, and kept where it does so too.
    The bits are those of the rate that is kept, had it been asked for with ``limited``. Where the first attempt does
    not fail there is no other.

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
        on_epoch: called after every epoch with its record, of attempts that are then given up too.
        restarts: the most of them; 0 for the rate of the options or none.
        limited: limit the first attempt too.

    Returns:
        Residual, accuracy and history, of the last attempt that converged, or else of that with the smallest residual.

    Raises:
        Diverged: the loss or the outputs are huge or not finite at all of the rates; the weights are what they were.
        TrainerError: inputs that do not belong together.

    """
    started = time.perf_counter()
    y = _targets(model, x, labels, num_classes)
    inputs, start = torch.from_numpy(np.array(x)), _copy_of(model)
    failed: list[Restart] = []
    kept: tuple[_Attempt, dict[str, Tensor]] | None = None  # the best that is finite
    with placed(model, device):
        for max_lr in falling(options.max_lr, restarts):
            with _seeded(seed, device):
                limit = limited or bool(failed)
                run = _Run(model, inputs, y, replace(options, max_lr=max_lr), seed, torch.device(device), limit)
                attempt = _attempt(run, on_epoch)
            if attempt.failure != "diverged" and (kept is None or attempt.converged or attempt.rms < kept[0].rms):
                kept = attempt, _copy_of(model)
            margin = bool(failed) and failed[-1].reason == "unsteady"
            unsteady = bool(failed) and not margin and attempt.converged and run.shortened
            if attempt.failure is None and not unsteady:
                break
            failed.append(Restart(max_lr, attempt.epochs, attempt.failure or "unsteady"))
            if margin:
                break
            model.load_state_dict(start)
            if attempt.failure == "diverged":
                run.refuse_broken()
                model.load_state_dict(start)  # with the statistics of batch norm that it had
        if kept is None:
            raise _diverged(failed)
        model.load_state_dict(kept[1])
    return _result(kept[0], labels, failed, started)


@dataclass(frozen=True)
class _Attempt:
    """One cycle of the learning rate: what it left, and why it failed if it did."""

    max_lr: float
    epochs: int
    converged: bool
    rms: float
    outputs: NDArray[np.float32]  # [L, C]
    history: list[EpochRecord]
    failure: Failure | None
    at_chance: bool
    limited: bool


def _attempt(run: "_Run", on_epoch: Callable[[EpochRecord], None] | None) -> _Attempt:
    options = run.options
    history: list[EpochRecord] = []
    rms, outputs = math.inf, np.empty((0, run.targets.shape[1]), np.float32)
    failure: Failure | None = None
    for epoch in range(1, options.epochs + 1):
        record: EpochRecord = {"epoch": epoch, "lr": run.lr, "loss": run.epoch(), "residual_rms": None}
        finite = math.isfinite(record["loss"])
        if finite and run.should_check(epoch):
            rms, outputs = run.measure()
            record["residual_rms"] = rms
            finite = math.isfinite(rms)
        if not finite:
            failure = "diverged"
            break
        history.append(record)
        if on_epoch is not None:
            on_epoch(record)
        if rms <= options.tolerance:
            break
        if record["residual_rms"] is not None and (failure := run.failure(rms, outputs, history)):
            break
    converged = failure is None and rms <= options.tolerance
    at_chance = failure not in (None, "diverged") and is_at_chance(outputs, run.targets, rms / run.constant)
    return _Attempt(options.max_lr, epoch, converged, rms, outputs, history, failure, at_chance, run.limited)


def _result(attempt: _Attempt, labels: NDArray[np.int64], restarts: list[Restart], started: float) -> FitResult:
    return FitResult(
        epochs=attempt.epochs,
        converged=attempt.converged,
        residual_norm=attempt.rms * math.sqrt(len(labels)),
        residual_rms=attempt.rms,
        train_accuracy=accuracy(attempt.outputs, labels),
        history=attempt.history,
        seconds=time.perf_counter() - started,
        max_lr=attempt.max_lr,
        restarts=tuple(restarts),
        at_chance=attempt.at_chance,
        limited=attempt.limited,
    )


def _diverged(failed: list[Restart]) -> Diverged:
    first, last = failed[0].max_lr, failed[-1].max_lr
    rates = f"at learning rate {first:.3g}" if first == last else f"at all rates from {first:.3g} down to {last:.3g}"
    return Diverged(
        f"training diverged {rates}: loss or outputs were huge or not finite, at last in epoch {failed[-1].epoch}",
        max_lr=last,
    )


def _copy_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights and statistics of a network as they are now."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


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
        limited: bool,
    ) -> None:
        self.model, self.options, self.targets, self.limited = model, options, y, limited
        self.longest, self.first = 0.0, True  # gradient of the first epoch, and whether that is running
        self.shortened = False  # whether any was
        self.x, self.y = x.to(device), torch.from_numpy(y).to(device)
        self.constant = constant_residual(y)
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
            if self.limited:
                self._limit_gradient()
            self.optimizer.step()
            self.schedule.step()
            total += loss.detach() * len(rows)
        self.first = False
        return float(total) / len(self.x)

    def _limit_gradient(self) -> None:
        """Shorten a gradient that is longer than all of the first epoch; in the first, find the longest."""
        most = math.inf if self.first else self.longest
        length = float(nn.utils.clip_grad_norm_(self.optimizer.param_groups[0]["params"], most))
        if self.first:
            self.longest = max(self.longest, length)
        else:
            self.shortened = self.shortened or length > self.longest

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

    def failure(self, rms: float, outputs: NDArray[np.float32], history: list[EpochRecord]) -> Failure | None:
        """Tell why it is of no use to go on, or of use to begin again at the epoch limit; None where it is not."""
        if self.constant == 0:  # one class: a constant is all that there is to learn
            return None
        dead, losses, share = all_equal(outputs), [record["loss"] for record in history], rms / self.constant
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


@contextmanager
def _seeded(seed: int, device: str) -> Iterator[None]:
    """Seed torch's global generators, for dropout, and put them back afterwards."""
    devices = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices), torch.backends.cudnn.flags(deterministic=True, benchmark=False):
        torch.manual_seed(seed)
        yield
