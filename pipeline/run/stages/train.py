"""Stage ``train``: a network trained to convergence on the labelled set, and how good it is."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from common.reading import read_json
from pipeline import seeds
from pipeline.errors import DivergedError, RunFailedError
from pipeline.files import write_atomically, write_json, write_json_lines
from pipeline.metrics import quality
from pipeline.progress import StageProgress, silent
from pipeline.run.context import RunContext
from pipeline.run.events import Event
from pipeline.run.pool import Labelled
from trainer.checkpoint import BESIDE, WEIGHTS, load_weights, read_weights, trained_files, with_weights
from trainer.data.by_id import ImageView, PoolInputs
from trainer.errors import Diverged, TrainerError
from trainer.growth import grow
from trainer.learners import Trained, Weights
from trainer.loop import fit
from trainer.options import TrainOptions
from trainer.predict import accuracy, predict
from trainer.restarts import LOWER, Restart, describe
from trainer.resumable import Checkpoint

MODEL, METRICS, SUMMARY = "model.json", "metrics.jsonl", "summary.json"
TRIALS = "initial_models"
"""What a summary says of the networks of which the median was kept."""
FIRST_TRIAL = 10**6
"""Number of the streams of the first of them, beside those of cycles."""
CHECKPOINT = "train.checkpoint.safetensors"
EVALUATION_CHUNK = 4096  # test images expanded to float32 at once


def run_train(
    context: RunContext,
    cycle: int,
    labelled: Labelled,
    previous: Path | None,
    into: Path,
    progress: StageProgress = silent,
    max_lr: float | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Train on the labelled set and read the test set once, after the last epoch; nothing is selected on test.

    The learning rate begins where the previous cycle's training ended after restarts, with gradients limited as there,
    if it did not end at chance; then this one starts from the initial weights, because dead units never come back.
    Without test images the summary says nothing of the network's accuracy but on the labelled ones.

    Args:
        context: the run's constants.
        cycle: number of the cycle; with the seed it fixes every random number.
        labelled: the labelled set.
        previous: the previous cycle's train stage, whose rate is kept and which a warm start begins from; None where
            there is none.
        into: directory to write weights, model, metrics and summary to.
        progress: called after every epoch with ``(done, total)``; after every step where an epoch is not one pass.
        max_lr: the highest rate to try, see ``rate_left``.
        checkpoint: where it is kept how far the training is, so that a killed one goes on from there.

    Raises:
        DivergedError: training diverged at all learning rates.
        RunFailedError: the labelled set is too small, or the network has more classes than the previous one and does
            not go on from it.

    """
    trials = (context.config.query.initial_models or 1) if cycle == 0 else 1
    if trials > 1:
        model, result, tried = _median(context, labelled, trials, progress, max_lr, checkpoint)
    else:
        model, tried = context.network(cycle if context.config.start == "reinitialised" else 0), {}
        result = _fitted(context, model, cycle, labelled, previous, progress, max_lr, checkpoint)
    for name, content in trained_files(model, result).items():
        write_atomically(into / name, content)
    write_atomically(into / MODEL, context.spec.to_json())
    write_json_lines(into / METRICS, result.history)
    summary = {
        "n_labeled": len(labelled),
        **result.figures(),
        **result.attempts(),
        **(_on_test(context, model, result) if len(context.data.test) else {}),
        "classes": list(context.data.classes),
        **tried,
    }
    write_json(into / SUMMARY, summary)


@dataclass(frozen=True)
class _Share:
    """The progress of one of several trainings, told as a part of all of them."""

    whole: StageProgress
    trial: int
    trials: int

    def __call__(self, done: int, total: int) -> None:
        self.whole(self.trial * total + done, self.trials * total)

    def plan(self, text: str) -> None:
        self.whole.plan(text)


def _median(
    context: RunContext,
    labelled: Labelled,
    trials: int,
    progress: StageProgress,
    max_lr: float | None,
    checkpoint: Checkpoint | None,
) -> tuple[nn.Module, Trained, dict[str, Any]]:
    """Train several networks on the initial set, from weights of their own, and keep the one of median accuracy.

    Of an even number the lower of the two.  Accuracy is that on the training samples without a label, by labels that
    nobody has given: the test half, of which the run reports, is not read for it.

    Source: Kong et al. 2021, section 4.1, who do not say on which samples.
    """
    rest = np.setdiff1d(np.arange(len(context.data.train)), labelled.ids)
    found = []
    for trial in range(trials):
        model = context.network(trial and FIRST_TRIAL + trial)
        result = _fitted(context, model, 0, labelled, None, _Share(progress, trial, trials), max_lr, checkpoint, trial)
        outputs = _outputs(context, model, rest, context.images)
        found.append((accuracy(outputs, context.data.labels("train", rest)), trial, model, result))
    ranked = sorted(found, key=lambda each: each[:2])
    _, chosen, model, result = ranked[(trials - 1) // 2]
    accuracies = [float(each[0]) for each in found]
    return model, result, {TRIALS: {"accuracies": accuracies, "chosen": chosen, "hidden_labels": len(rest)}}


def _outputs(context: RunContext, model: nn.Module, ids: np.ndarray, images: ImageView) -> np.ndarray:
    """Return a network's outputs ``[N, C]`` on images of some ids, in portions."""
    parts = [ids[start : start + EVALUATION_CHUNK] for start in range(0, len(ids), EVALUATION_CHUNK)]
    return np.concatenate([predict(model, images(part), device=context.device) for part in parts])


def _on_test(context: RunContext, model: nn.Module, result: Trained) -> dict[str, Any]:
    """Return what a network achieves on the test images; of one at averaged weights, its student's accuracy too."""
    metrics = test_metrics(context, model) | {"n_test": len(context.data.test)}
    if result.averaged:
        student = test_metrics(context, with_weights(model, result.student))
        metrics["student_test_accuracy"] = student["test_accuracy"]
    return metrics


def _fitted(
    context: RunContext,
    model: nn.Module,
    cycle: int,
    labelled: Labelled,
    previous: Path | None,
    progress: StageProgress,
    max_lr: float | None,
    checkpoint: Checkpoint | None,
    trial: int = 0,
) -> Trained:
    """Train a cycle's network in place; what goes wrong is a failure of the run that says what to do."""
    options, learned = _begin_with(context, previous, max_lr)
    warm = previous if context.config.start == "warm" and learned else None
    by_step = options.epoch_steps is not None  # which may take long
    try:
        if warm is not None:
            _go_on_from(model, warm, context.spec.num_classes)
        return fit(
            model,
            context.images(labelled.ids),
            labelled.labels,
            context.data.num_classes,
            options,
            seed=seeds.integer(context.config.seed, (trial and FIRST_TRIAL + trial) or cycle, "train"),
            device=context.device,
            on_epoch=None if by_step else lambda record: progress(record["epoch"], options.epochs),
            on_step=progress if by_step else None,
            limited=learned and previous is not None and was_limited(previous),
            unlabelled=unlabelled_of(context, labelled),
            beside=read_beside(warm) if warm is not None else None,
            checkpoint=checkpoint,
        )
    except Diverged as error:
        if error.max_lr is None:
            raise RunFailedError(f"cycle {cycle}: {error}") from error
        lower = f"'pipeline resume' goes on below {error.max_lr:.3g}"
        raise DivergedError(f"cycle {cycle}: {error}; {lower}", error.max_lr) from error
    except TrainerError as error:
        raise RunFailedError(f"cycle {cycle}: {error}") from error


def unlabelled_of(context: RunContext, labelled: Labelled) -> PoolInputs | None:
    """Return the training images without labels, for a learner that learns from them; None for others.

    Args:
        context: the run's constants.
        labelled: the labelled set.

    """
    if not context.config.train_options.learns_unlabelled:
        return None
    everything = np.arange(len(context.data.train))
    return PoolInputs(context.images, np.setdiff1d(everything, labelled.ids))


def _begin_with(context: RunContext, previous: Path | None, max_lr: float | None) -> tuple[TrainOptions, bool]:
    """Return options at the rate to begin with, and whether the previous network learned anything."""
    before, options = _rates(previous) if previous is not None else {}, context.train_options
    learned = not before.get("at_chance", False)
    kept = before.get("max_lr") if learned else None
    if kept is not None and previous is not None and (spec := previous / MODEL).is_file():
        fewer = context.config.train_options_for(read_json(spec)["num_classes"])
        kept *= options.max_lr / fewer.max_lr  # the same rate for the classes that there are now
    rates = [options.max_lr, max_lr, kept]
    return replace(options, max_lr=min(rate for rate in rates if rate is not None)), learned


def _go_on_from(model: nn.Module, previous: Path, classes: int) -> None:
    """Load the previous cycle's weights, into a network that may have more classes."""
    spec = previous / MODEL
    if spec.is_file() and read_json(spec)["num_classes"] < classes:
        grow(model, read_weights(previous / WEIGHTS))
    else:
        load_weights(model, previous / WEIGHTS)


def checkpoint_of(cycle: Path) -> Checkpoint:
    """Return where it is kept how far a cycle's training is, beside the stage that it is to become.

    Args:
        cycle: the cycle's folder.

    """
    return Checkpoint(cycle / CHECKPOINT)


def read_beside(directory: Path) -> Weights | None:
    """Return the weights of what was trained beside a cycle's network; None where nothing was."""
    return read_weights(directory / BESIDE) if (directory / BESIDE).is_file() else None


def read_summary(directory: Path) -> dict[str, Any]:
    """Return what ``run_train`` wrote about its network: nothing of the test set where there is none.

    Older versions wrote its accuracy alone.
    """
    return dict(read_json(directory / SUMMARY))


def _rates(directory: Path) -> dict[str, Any]:
    """Return what a train stage says of its attempts; those of older versions say nothing."""
    return read_summary(directory) if (directory / SUMMARY).is_file() else {}


def options_of(context: RunContext, trained: Path) -> TrainOptions:
    """Return how a cycle's network was trained: as the run says, at the rate or with the ridge that was kept.

    Args:
        context: the run's constants.
        trained: the cycle's train stage.

    """
    options, left = context.train_options, _rates(trained)
    return replace(options, max_lr=left.get("max_lr", options.max_lr), ridge=left.get("ridge", options.ridge))


def was_limited(trained: Path) -> bool:
    """Return whether a cycle's network was trained with gradients no longer than at the start, after restarts.

    Args:
        trained: the cycle's train stage.

    """
    return bool(_rates(trained).get("limited", False))


def rate_left(events: Iterable[Event], cycle: int) -> float | None:
    """Return the highest learning rate that a cycle has not failed at before; None where it has not failed.

    Args:
        events: the run's log.
        cycle: number of the cycle.

    """
    failed = [e["max_lr"] for e in events if e["event"] == "failed" and e["cycle"] == cycle and "max_lr" in e]
    return min(failed) * LOWER if failed else None


def training_cautions(trained: Path) -> list[str]:
    """Return what a user should know of a cycle's training: restarts at lower rates, or nothing learned.

    Args:
        trained: the cycle's train stage.

    """
    rates = _rates(trained)
    restarts = [Restart(**restart) for restart in rates.get("restarts", ())]
    return describe(rates["max_lr"], restarts, rates["at_chance"], "--set train.max_lr=") if restarts else []


def test_metrics(context: RunContext, model: nn.Module) -> dict[str, Any]:
    """Return what a network achieves on the test images, by name.

    Args:
        context: the run's constants.
        model: in eval mode.

    """
    ids = np.arange(len(context.data.test))
    outputs, labels = _outputs(context, model, ids, context.data.view("test")), context.data.labels("test")
    others = quality(outputs, labels, context.config.train_options.loss)
    return {
        "test_accuracy": accuracy(outputs, labels),
        **{f"test_{name}": value for name, value in others.items()},
    }
