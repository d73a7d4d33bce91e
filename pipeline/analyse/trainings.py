"""Networks trained for an analysis, with labels that are known afterwards, as the run trains its own."""

from dataclasses import dataclass

import numpy as np

from common.losses import get_loss
from pipeline import seeds
from pipeline.analyse.opening import OpenedRun
from pipeline.errors import RunFailedError
from pipeline.run.pool import Labelled
from pipeline.run.stages.train import EVALUATION_CHUNK, WEIGHTS, options_of, unlabelled_of
from trainer.checkpoint import load_weights
from trainer.errors import TrainerError
from trainer.learners import EpochRecord
from trainer.loop import fit
from trainer.predict import accuracy, predict
from trainer.targets import one_hot

FIRST_SEED = 2 * 10**6
"""Number of the streams of the first network of another seed, beside those of cycles."""
TENTH = 0.1
"""Of the first epoch's loss of the labelled: what is called learned, whatever the schedule does afterwards."""


@dataclass(frozen=True)
class Training:
    """How a network was learned, and what it is worth.

    Args:
        epochs: how many.
        to_tenth: epochs until the loss of the labelled stays below a tenth of that after the first; NaN if it never is.
        to_lowest: epochs until the test loss is lowest; NaN where it was not followed.
        test_accuracy: at the end; NaN without a test half.

    """

    epochs: int
    to_tenth: float
    to_lowest: float
    test_accuracy: float


class Trainer:
    """Trains networks of a run's kind on any labelled set; the run's own labels of the test half are read for it.

    Args:
        run: what is looked at.
        cycle: whose training is repeated: its network's classes, and the learning rate that was kept.

    """

    def __init__(self, run: OpenedRun, cycle: int) -> None:
        self.run, self.cycle = run, cycle
        self.context = run.context.of_cycle(run.pool, cycle)
        self.options = options_of(self.context, run.trained[cycle])
        data = self.context.data
        test = np.arange(len(data.test))[:EVALUATION_CHUNK]
        self._test = (data.inputs("test", test), data.labels("test", test)) if len(test) else None

    def __call__(self, ids: np.ndarray, seed: int | None, follow: bool = False) -> Training:
        """Train on samples whose labels the data has.

        Args:
            ids: of the labelled set.
            seed: number of another network with another order of images; None for the run's own beginning: its initial
                weights, or its cycle's where a run goes on from these.
            follow: whether the test loss is read after every epoch.

        Raises:
            RunFailedError: it cannot be trained.

        """
        context, config = self.context, self.run.context.config
        model = context.network(0 if seed is None else FIRST_SEED + seed)
        if seed is None and config.start == "warm":
            load_weights(model, self.run.trained[self.cycle] / WEIGHTS)
        losses, test = dict[int, float](), self._test

        def followed(record: EpochRecord) -> None:
            if record["epoch"] == 1:
                losses.clear()  # an attempt at a lower rate began
            if test is not None:
                losses[record["epoch"]] = self._loss(predict(model, test[0], device=context.device), test[1])

        labelled = Labelled(ids, context.data.labels("train", ids))
        try:
            result = fit(
                model,
                context.images(ids),
                labelled.labels,
                context.data.num_classes,
                self.options,
                seed=seeds.integer(config.seed, FIRST_SEED + (seed or 0), "train"),
                device=context.device,
                on_epoch=followed if follow else None,
                unlabelled=unlabelled_of(context, labelled),
            )
        except TrainerError as error:
            raise RunFailedError(f"analysis: {error}") from error
        told = [float(record["loss"]) for record in result.history]
        lowest = min(losses, key=lambda epoch: (losses[epoch], epoch)) if losses else float("nan")
        reached = float("nan")
        if test is not None:
            reached = accuracy(predict(model, test[0], device=context.device), test[1])
        return Training(result.epochs, stays_below(told, TENTH * told[0]), float(lowest), reached)

    def _loss(self, outputs: np.ndarray, labels: np.ndarray) -> float:
        y, f = one_hot(labels, self.context.data.num_classes), np.asarray(outputs, np.float64)
        if self.options.loss == "cross-entropy":
            p = get_loss(self.options.loss).probabilities.of(f)
            return float(-np.log(np.maximum((p * y).sum(axis=1), 1e-300)).mean())
        return float(((f - y) ** 2).mean())


def stays_below(values: list[float], level: float) -> float:
    """Return from which of the values on, counted from 1, all are at most a level; NaN where the last is above it.

    Args:
        values: in order.
        level: what they must stay below.

    """
    above = [n for n, value in enumerate(values, start=1) if not value <= level]
    last = above[-1] if above else 0
    return float(last + 1) if last < len(values) else float("nan")
