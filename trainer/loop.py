"""Training in a regime, again at a lower rate where it fails."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.attempt import Attempt, OnStep, Run, copy_of
from trainer.batch_norm import has_batch_norm
from trainer.errors import Diverged, TrainerError
from trainer.exact import fit_exactly
from trainer.keeping import Keeper, Tried, looked_at
from trainer.learners import LEARNERS, Inputs, OnEpoch, Trained
from trainer.options import TrainOptions
from trainer.predict import accuracy, placed
from trainer.restarts import Restart, falling
from trainer.resumable import Checkpoint, digest_of
from trainer.targets import one_hot


def fit(
    model: nn.Module,
    x: NDArray[np.float32],
    labels: NDArray[np.int64],
    num_classes: int,
    options: TrainOptions,
    *,
    seed: int,
    device: str = "cpu",
    on_epoch: OnEpoch | None = None,
    limited: bool = False,
    unlabelled: Inputs | None = None,
    beside: Mapping[str, Tensor] | None = None,
    on_step: OnStep | None = None,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train a network in place until its regime's ending is met, or to the epoch limit.

    The regime's learner says what is minimised, its optimiser and schedule how. By default that is the labelled images'
    loss by SGD with momentum and weight decay under the 1cycle policy (Smith & Topin 2019): the learning rate rises
    from max_lr/25 over the first 30 % of the steps and falls to nearly 0 by a cosine. While it falls, every fifth
    epoch, and after the last one, the residual

        ||R||_F / sqrt(L),   R = Y - readout(f(X))   [L, C], in eval mode, without augmentation

    is measured, the readout being the loss's (``common.losses``): f itself for l2, its softmax for cross-entropy.
    Training stops when it is at most ``options.tolerance``, or when another ending is met (``trainer.regimes.Ending``,
    which then looks every epoch). Before each measurement the running statistics of batch norm are taken afresh from
    the labelled images (``trainer.batch_norm``), unless the regime leaves them as they run. An epoch is cut into steps
    of equal size, so there is no small last batch.

    With ``options.holdout`` every k-th labelled image, k = round(1/holdout), is not trained on, and the weights that
    are left are those of the epoch at which its loss was lowest.

    With the optimiser ``exact`` none of this is done: the minimum is solved for (``trainer.exact``).

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
        limited: limit the first attempt too.
        unlabelled: images without labels, for learners that learn from them.
        beside: the weights that what is trained beside the network starts from; None for new ones.
        on_step: called after every step with the number of those done and of all, of the attempt that is run.
        checkpoint: where it is kept how far the training is. What is there of the same training is gone on from, to the
            bits that it would have had. It is left where it is: whoever keeps the result removes it then.

    Returns:
        Residual, accuracy, history and snapshots, of the last attempt that ended before the epoch limit, or else of
        that with the smallest residual.

    Raises:
        Diverged: the loss or the outputs are huge or not finite at all of the rates; the weights are what they were.
        TrainerError: inputs that do not belong together.

    """
    y = _targets(model, x, labels, num_classes)
    learner = LEARNERS[options.learner]
    if learner.needs_unlabelled:
        learner.require_fits(options, x.shape[1:], 0 if unlabelled is None else len(unlabelled))
    if options.optimizer == "exact":
        return fit_exactly(model, x, labels, y, options, device=device, on_epoch=on_epoch)
    inputs, start, tried = torch.from_numpy(np.array(x)), copy_of(model), Tried()
    made_from = repr(asdict(options)), seed, limited, device.partition(":")[0], x, labels, start, beside or {}
    keeper = Keeper(checkpoint, lambda: digest_of(*made_from, *looked_at(unlabelled)), tried)
    failed = tried.failed
    with placed(model, device):
        for max_lr in list(falling(options.max_lr, options.restarts))[len(failed) :]:
            with _seeded(seed, device):
                limit = limited or bool(failed)
                regime = replace(options, max_lr=max_lr)
                run = Run(model, learner, inputs, y, unlabelled, regime, seed, torch.device(device), limit, beside)
                attempt = run.attempt(on_epoch, keeper.watch(run, on_step))
            kept = tried.kept  # the best that is finite
            if attempt.failure != "diverged" and (kept is None or attempt.ended_early or attempt.rms < kept[0].rms):
                tried.kept = attempt, copy_of(model)
            margin = bool(failed) and failed[-1].reason == "unsteady"
            unsteady = bool(failed) and not margin and attempt.ended_early and run.shortened
            if attempt.failure is None and not unsteady:
                break
            failed.append(Restart(max_lr, attempt.epochs, attempt.failure or "unsteady"))
            if margin:
                break
            model.load_state_dict(start)
            if attempt.failure == "diverged":
                run.refuse_broken()
                model.load_state_dict(start)  # with the statistics of batch norm that it had
        if tried.kept is None:
            keeper.end()
            raise _diverged(failed)
        model.load_state_dict(tried.kept[1])
    return _trained(tried.kept[0], labels, failed, keeper.seconds)


def _trained(attempt: Attempt, labels: NDArray[np.int64], restarts: list[Restart], seconds: float) -> Trained:
    rows, held_out = attempt.rows, attempt.held_out
    return Trained(
        epochs=attempt.epochs,
        converged=attempt.failure is None and attempt.ended == "tolerance",
        ended=attempt.ended,
        residual_norm=attempt.rms * math.sqrt(len(rows)),
        residual_rms=attempt.rms,
        train_accuracy=accuracy(attempt.outputs[rows], labels[rows]),
        history=attempt.history,
        seconds=seconds,
        max_lr=attempt.max_lr,
        restarts=tuple(restarts),
        at_chance=attempt.at_chance,
        limited=attempt.limited,
        held_out=len(held_out),
        held_out_accuracy=accuracy(attempt.outputs[held_out], labels[held_out]) if len(held_out) else None,
        snapshots=attempt.snapshots,
        beside=attempt.beside,
        student=attempt.student,
    )


def _diverged(failed: list[Restart]) -> Diverged:
    first, last = failed[0].max_lr, failed[-1].max_lr
    rates = f"at learning rate {first:.3g}" if first == last else f"at all rates from {first:.3g} down to {last:.3g}"
    return Diverged(
        f"training diverged {rates}: loss or outputs were huge or not finite, at last in epoch {failed[-1].epoch}",
        max_lr=last,
    )


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
    steady = torch.backends.cudnn.flags(deterministic=True, benchmark=False) if devices else nullcontext()
    with torch.random.fork_rng(devices=devices), steady:  # the flags are the whole process's: others may compute now
        torch.manual_seed(seed)
        yield
