"""One network trained on some images of a data set, as ``trainer fit`` does it, and how good it is."""

from dataclasses import dataclass
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainer.checkpoint import with_weights
from trainer.data import DataSet
from trainer.data.by_id import PoolInputs
from trainer.errors import Diverged
from trainer.learners import Trained
from trainer.loop import fit
from trainer.options import TrainOptions
from trainer.predict import accuracy, predict
from trainer.restarts import LOWER
from trainer.resumable import Checkpoint
from trainer.threads import choose_threads, with_threads
from trainer.watched import Lines


@dataclass(frozen=True)
class Fitted:
    """What a training came to.

    Args:
        result: of it.
        threads: of torch.
        test: accuracy on the test images; None where there are none.
        student: likewise of the weights that steps led to, where the network has averages of them.

    """

    result: Trained
    threads: int
    test: float | None
    student: float | None

    def summary(self) -> dict[str, Any]:
        """Return it as it is written to files."""
        result = self.result
        return {
            **result.figures(),
            "test_accuracy": self.test,
            **({"student_test_accuracy": self.student} if result.averaged else {}),
            "seconds": result.seconds,
            "threads": self.threads,
            **result.attempts(),
        }


def fit_on(
    data: DataSet,
    ids: NDArray[np.int64],
    network: nn.Module,
    options: TrainOptions,
    checkpoint: Checkpoint,
    *,
    seed: int,
    device: str,
    threads: int | None,
) -> Fitted:
    """Train a network in place on labelled images, where its learner learns from them with all others in the pool.

    Lines on standard error say how much time is left.

    Args:
        data: the data set.
        ids: of the labelled images ``[L]``.
        network: at the weights that it starts from.
        options: how.
        checkpoint: where it is kept how far the training is; it is left there.
        seed: of every choice.
        device: where.
        threads: of torch; where it is None those that a training that was killed had, else what suits network and
            machine.

    Raises:
        Diverged: at all rates; the message says which to try.

    """
    x, labels = data.inputs("train", ids), data.labels("train", ids)
    rest = PoolInputs(data.view("train"), np.setdiff1d(np.arange(len(data.train)), ids))
    threads = threads or checkpoint.threads() or _threads(network, x, options.images_per_step, device)
    lines = Lines(lambda line: click.echo(line, err=True), checkpoint)
    with with_threads(threads):
        try:
            result = fit(
                network,
                x,
                labels,
                data.num_classes,
                options,
                seed=seed,
                device=device,
                on_epoch=lines.epoch,
                on_step=lines.step,
                unlabelled=rest if options.learns_unlabelled else None,
                checkpoint=checkpoint,
            )
        except Diverged as error:
            lower = f"{error}; try --max-lr={error.max_lr * LOWER:.3g}" if error.max_lr else str(error)
            raise Diverged(lower) from error
        test = _test_accuracy(network, data, device)
        student = _test_accuracy(with_weights(network, result.student), data, device) if result.averaged else None
    return Fitted(result, threads, test, student)


def _test_accuracy(network: nn.Module, data: DataSet, device: str) -> float | None:
    """Return the share of test images that a network is right about; None where there are none."""
    if len(data.test) == 0:
        return None
    return accuracy(predict(network, data.inputs("test"), device=device), data.labels("test"))


def _threads(network: nn.Module, x: NDArray[np.float32], images_per_step: int, device: str) -> int:
    """Return with how many threads to train where nobody said."""
    if device.partition(":")[0] != "cpu":
        return torch.get_num_threads()
    return choose_threads(network, torch.from_numpy(x[:1]), images_per_step)
