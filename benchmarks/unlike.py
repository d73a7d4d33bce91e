"""Training by default on unlike data sets: does it fail, how often does it start again, is it as good as it can be?

    python benchmarks/unlike.py --data-root data --seeds 5        # all data sets and networks
    python benchmarks/unlike.py --small                           # a smoke run

Every data set is made in memory, but for the digits and MNIST, and normalised as a user's own is.  A network trains
with its default options on some labelled images, and then at each of a list of fixed rates without restarts being of
use; the rate that gave the best mean test accuracy is what the default is compared with.  It was chosen on these test
images, so the comparison is hard on the default.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
from numpy.typing import NDArray

from trainer.data import DataSet, load
from trainer.data.custom import assemble
from trainer.errors import Diverged
from trainer.loop import FitResult, fit
from trainer.models import build_model
from trainer.options import options_for
from trainer.predict import accuracy, predict
from trainer.restarts import RESTARTS, Failure

TEST = 400  # images of every made-up data set
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
NETWORKS: dict[str, dict[str, int]] = {"cnn": {}, "mlp": {}, "resnet18": {"width": 8}}
Maker = Callable[[np.random.Generator, int], tuple[NDArray[np.float64], NDArray[np.int64]]]


def smooth(rng: np.random.Generator, n: int, height: int, width: int, cells: int = 4) -> NDArray[np.float64]:
    """Return random smooth patterns with mean about 0 and deviation about 1, ``[n, height, width]``."""
    coarse = rng.standard_normal((n, cells, cells))
    rows, columns = (np.linspace(0, cells - 1, size) for size in (height, width))

    def weights(at: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(cells)))  # [size, cells]

    return np.asarray(np.einsum("hi,nij,wj->nhw", weights(rows), coarse, weights(columns)) * 1.5)


def prototypes(
    classes: int, height: int, width: int, *, mean: float, contrast: float, noise: float, channels: int = 1
) -> Maker:
    """Images that are a smooth pattern of their class, plus a smooth one of their own, plus grain."""

    def make(rng: np.random.Generator, n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        fixed = np.random.default_rng(classes + height)
        kinds = np.stack([smooth(fixed, classes, height, width) for _ in range(channels)], 1)
        labels = np.arange(n) % classes
        own = np.stack([smooth(rng, n, height, width) for _ in range(channels)], 1)
        grain = rng.standard_normal(own.shape)
        return mean + contrast * (kinds[labels] + noise * own + 0.3 * grain), labels

    return make


def colours(rng: np.random.Generator, n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Ten hues of one brightness, evenly over the image, with grain."""
    labels = np.arange(n) % 10
    angle = 2 * np.pi * (labels + rng.uniform(-0.3, 0.3, n)) / 10
    hue = 128 + 60 * np.cos(angle[:, None] + 2 * np.pi * np.arange(3) / 3)
    return hue[:, :, None, None] + rng.normal(0, 6, (n, 3, 16, 16)), labels


def brightness(rng: np.random.Generator, n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Five brightnesses, evenly over the image, with grain."""
    labels = np.arange(n) % 5
    level = 30 + 45 * labels + rng.uniform(-12, 12, n)
    return level[:, None, None, None] + rng.normal(0, 6, (n, 1, 16, 16)), labels


def x_rays(rng: np.random.Generator, n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Two bright fields on grey, each image of its own exposure; every second has a faint blob in one of them."""
    labels = np.arange(n) % 2
    row, column = np.mgrid[0:32, 0:32]
    field = sum(np.exp(-((row - 16) ** 2 / 120 + (column - at) ** 2 / 25)) for at in (9, 22))
    side, height = rng.choice((9, 22), n), rng.uniform(9, 23, n)
    blob = np.exp(-((row - height[:, None, None]) ** 2 + (column - side[:, None, None]) ** 2) / 8)
    x = 70 + 25 * rng.standard_normal((n, 1, 1)) + 80 * field + 12 * smooth(rng, n, 32, 32, 6)
    return (x + labels[:, None, None] * 60 * blob + rng.normal(0, 4, x.shape))[:, None], labels


def embeddings(rng: np.random.Generator, n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Features of some other network, one row of pixels: non-negative, many of them nearly 0."""
    fixed = np.random.default_rng(3)
    centres = np.maximum(0, fixed.standard_normal((10, 128)))
    labels = np.arange(n) % 10
    return 50 * np.maximum(0, centres[labels] + 0.5 * rng.standard_normal((n, 128)))[:, None, None], labels


@dataclass(frozen=True)
class Kind:
    """A data set to make, and how many of its images are labelled."""

    make: Maker | str
    labels: int = 100


KINDS: dict[str, Kind] = {
    "dark": Kind(prototypes(10, 16, 16, mean=6, contrast=4, noise=0.7)),
    "bright": Kind(prototypes(10, 16, 16, mean=248, contrast=4, noise=0.7)),
    "colour only": Kind(colours),
    "brightness only": Kind(brightness),
    "X-rays": Kind(x_rays),
    "2 classes": Kind(prototypes(2, 16, 16, mean=128, contrast=35, noise=1.0)),
    "100 classes": Kind(prototypes(100, 16, 16, mean=128, contrast=35, noise=0.4, channels=3)),
    "20 labels": Kind(prototypes(5, 16, 16, mean=128, contrast=35, noise=0.7), 20),
    "64x64": Kind(prototypes(5, 64, 64, mean=128, contrast=35, noise=0.7), 40),
    "12x40": Kind(prototypes(10, 12, 40, mean=128, contrast=35, noise=0.7, channels=3)),
    "embeddings 1x128": Kind(embeddings),
    "digits": Kind("digits"),
    "mnist": Kind("mnist"),
}


def made(name: str, seed: int, root: Path | None) -> tuple[DataSet, NDArray[np.int64]]:
    """Return a data set and the ids that are labelled."""
    kind, rng = KINDS[name], np.random.default_rng(seed)
    if isinstance(kind.make, str):
        data = load(kind.make, root=root)
        return data, rng.choice(len(data.train), kind.labels, replace=False)
    x, labels = kind.make(rng, kind.labels + TEST)
    order = rng.permutation(kind.labels)
    order = np.concatenate([order, np.arange(kind.labels, len(x))])
    images = np.clip(np.rint(x), 0, 255).astype(np.uint8)[order]
    classes = tuple(str(c) for c in range(int(labels.max()) + 1))
    return assemble("made", classes, images, labels[order], kind.labels), np.arange(kind.labels)


@dataclass(frozen=True)
class Trained:
    """What one training came to; no result where it diverged at every rate."""

    result: FitResult | None
    test_accuracy: float
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether it diverged or left a network that says the same of every image."""
        return self.result is None or self.result.at_chance


def train(data: DataSet, ids: NDArray[np.int64], network: str, seed: int, **how: Any) -> Trained:
    """Train once; by default as ``trainer fit`` does, else at the rate ``max_lr`` alone."""
    model = build_model(network, data.input_shape, data.num_classes, seed, **NETWORKS[network])
    x, labels = data.inputs("train", ids), data.labels("train", ids)
    test = np.arange(min(2000, len(data.test)))
    started, result = time.perf_counter(), None
    try:
        options = options_for(network, max_lr=how.get("max_lr"), epochs=how.get("epochs"))
        result = fit(
            model, x, labels, data.num_classes, options, seed=seed, restarts=0 if "max_lr" in how else RESTARTS
        )
    except Diverged:
        pass  # the network is the one that it was
    seconds = time.perf_counter() - started
    return Trained(result, accuracy(predict(model, data.inputs("test", test)), data.labels("test", test)), seconds)


def cell(name: str, network: str, seeds: int, rates: tuple[float, ...], root: Path | None, more: dict[str, Any]) -> str:
    """Return the row of one data set and network."""
    default: list[Trained] = []
    fixed: dict[float, list[Trained]] = {rate: [] for rate in rates}
    for seed in range(seeds):
        data, ids = made(name, seed, root)
        default.append(train(data, ids, network, seed, **more))
        for rate in rates:
            fixed[rate].append(train(data, ids, network, seed, max_lr=rate, **more))
    first = options_for(network).max_lr
    restarts = [one.result.restarts if one.result else () for one in default]
    reasons = [one.reason for failed in restarts for one in failed if one.max_lr == first]
    means = {rate: statistics.fmean(one.test_accuracy for one in runs) for rate, runs in fixed.items()}
    best = max(means, key=means.__getitem__)
    mine = statistics.fmean(one.test_accuracy for one in default)
    converged = sum(one.result is not None and one.result.converged for one in default)
    figures = (
        f"{name}, {len(ids)} labels, {data.num_classes} classes",
        network,
        ", ".join(str(reasons.count(reason)) for reason in get_args(Failure)),
        f"{sum(one.failed for one in default)}",
        ", ".join(str(len(failed)) for failed in restarts),
        ", ".join(sorted({f"{one.result.max_lr:.3g}" for one in default if one.result}, key=float)),
        f"{converged} of {seeds}",
        f"{mine:.3f}",
        f"{means[best]:.3f} at {best:g}",
        f"{mine - means[best]:+.3f}",
        f"{statistics.fmean(one.seconds for one in default):.1f}",
    )
    return "| " + " | ".join(figures) + " |"


@click.command()
@click.option("--data-root", type=click.Path(path_type=Path), help="Of MNIST, which is left out without it.")
@click.option("--kinds", default=",".join(KINDS), help="Data sets, by comma.")
@click.option("--networks", default=",".join(NETWORKS), help="Networks, by comma.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--rates", default=",".join(map(str, RATES)), help="Fixed rates, by comma.")
@click.option("--small", is_flag=True, help="A smoke run: two data sets, one seed, one fixed rate, few epochs.")
def main(data_root: Path | None, kinds: str, networks: str, seeds: int, rates: str, small: bool) -> None:
    """Train by default on unlike data sets, and beside that at fixed rates."""
    names = [name for name in kinds.split(",") if name != "mnist" or data_root is not None]
    more = dict[str, Any]()
    if small:
        names, networks, seeds, rates, more = ["colour only", "20 labels"], "cnn,mlp", 1, "0.1", {"epochs": 10}
    print(
        "| data | network | first attempts that diverged, died, blew up | failed in the end | restarts by seed | "
        "rates kept | converged | test accuracy | best fixed rate | difference | s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name in names:
        for network in networks.split(","):
            print(cell(name, network, seeds, tuple(map(float, rates.split(","))), data_root, more), flush=True)


if __name__ == "__main__":
    main()
