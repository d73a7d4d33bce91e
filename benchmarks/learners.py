"""What images without labels are worth: test accuracy by learner and number of random labels, a training a seed.

    python benchmarks/learners.py --dataset digits --labels 20,50 --seeds 4 --steps 1000

Labels are drawn at random, so of few some classes have none.  Every network is a ``cnn`` and begins at its seed's
weights; learners of images without labels see all others of the training half.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from trainer.data import DataSet, load
from trainer.data.by_id import PoolInputs
from trainer.learners import LEARNERS
from trainer.loop import fit
from trainer.models import build_model
from trainer.options import options_for
from trainer.predict import accuracy, predict

WAYS: dict[str, dict[str, Any]] = {
    "supervised, l2": {},
    "supervised, cross-entropy": {"loss": "cross-entropy"},
    "pi-model": {"learner": "pi-model"},
    "mean-teacher": {"learner": "mean-teacher"},
    "fixmatch": {"learner": "fixmatch"},
    "mean-teacher, l2": {"learner": "mean-teacher", "loss": "l2"},
    "fixmatch, l2": {"learner": "fixmatch", "loss": "l2"},
}


def trained(data: DataSet, labels: int, seed: int, width: int, steps: int, way: dict[str, Any]) -> float:
    """Return the test accuracy of one training."""
    ids = np.sort(np.random.default_rng(seed).choice(len(data.train), labels, replace=False))
    options = options_for("cnn", **way)
    if options.epoch_steps is not None:
        options = options_for("cnn", **way, epochs=max(1, steps // options.epoch_steps))
    rest = PoolInputs(data.view("train"), np.setdiff1d(np.arange(len(data.train)), ids))
    network = build_model("cnn", data.input_shape, data.num_classes, seed, width=width)
    unlabelled = rest if LEARNERS[options.learner].needs_unlabelled else None
    given = data.inputs("train", ids), data.labels("train", ids), data.num_classes, options
    fit(network, *given, seed=seed, unlabelled=unlabelled)
    return accuracy(predict(network, data.inputs("test")), data.labels("test"))


@click.command()
@click.option("--dataset", default="digits")
@click.option("--data-root", type=click.Path(path_type=Path))
@click.option("--labels", default="20,50")
@click.option("--seeds", default=4)
@click.option("--steps", default=1000, help="Of learners of images without labels.")
@click.option("--width", default=16)
@click.option("--ways", default=";".join(WAYS), help="Names with semicolons between them.")
def main(dataset: str, data_root: Path | None, labels: str, seeds: int, steps: int, width: int, ways: str) -> None:
    """Print a table with a row for each way and number of labels."""
    torch.set_num_threads(1)
    data = load(dataset, root=data_root)
    click.echo(f"| {dataset}, labels | way | mean | of each seed |\n| --- | --- | --- | --- |")
    for count in map(int, labels.split(",")):
        for way in ways.split(";"):
            found = [trained(data, count, seed, width, steps, WAYS[way]) for seed in range(seeds)]
            each = " ".join(f"{one:.3f}" for one in found)
            click.echo(f"| {count} | {way} | {np.mean(found):.3f} | {each} |")


if __name__ == "__main__":
    main()
