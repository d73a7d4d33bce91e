"""Training by default on unlike data sets: does it fail, how often does it start again, is it as good as it can be?

    python benchmarks/unlike.py --data-root data --seeds 6 --out benchmarks/unlike        # all data sets and networks
    python benchmarks/unlike.py --out benchmarks/unlike --table --networks mlp            # what is there of one
    python benchmarks/unlike.py --small                           # a smoke run

Every data set is made in memory, but for the digits and MNIST, and normalised as a user's own is.  A network trains
with its default options on some labelled images, and then at each of a list of fixed rates without restarts being of
use; the rate that gave the best mean test accuracy is what the default is compared with.  It was chosen on these test
images, so the comparison is hard on the default.
"""

from __future__ import annotations

import contextlib
import csv
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
from numpy.typing import NDArray

from trainer.data import DataSet, load
from trainer.data.custom import assemble
from trainer.errors import Diverged
from trainer.loop import fit
from trainer.models import build_model
from trainer.options import options_for
from trainer.predict import accuracy, predict
from trainer.restarts import RESTARTS, Failure

TEST = 400  # images of every made-up data set
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
NETWORKS: dict[str, dict[str, int]] = {"cnn": {}, "mlp": {}, "linear": {}, "resnet18": {"width": 8}, "wide_resnet": {}}
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


def embeddings(classes: int) -> Maker:
    """Features of some other network, one row of pixels: non-negative, many of them nearly 0."""

    def make(rng: np.random.Generator, n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        fixed = np.random.default_rng(3)
        centres = np.maximum(0, fixed.standard_normal((classes, 128)))
        labels = np.arange(n) % classes
        return 50 * np.maximum(0, centres[labels] + 0.5 * rng.standard_normal((n, 128)))[:, None, None], labels

    return make


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
    "embeddings 1x128": Kind(embeddings(10)),
    "embeddings, 2 classes": Kind(embeddings(2)),
    "embeddings, 3 classes": Kind(embeddings(3), 30),
    "embeddings, 5 classes": Kind(embeddings(5)),
    "3 classes": Kind(prototypes(3, 16, 16, mean=128, contrast=35, noise=1.0), 40),
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
    """What one training came to, a line of the file that is kept; figures are NaN where it diverged at every rate.

    Args:
        data: a key of ``KINDS``.
        network: a key of ``NETWORKS``.
        seed: of data, weights and training.
        rate: the fixed one; 0 for the default, with restarts.
        first: why the first attempt failed, or nothing.
        restarts: how many there were.
        kept: the rate of the network.
        failed: whether it diverged or left a network that says the same of every image.
        converged: whether the residual came under the tolerance.
        residual_rms: the residual per labelled image.
        test_accuracy: of at most 2,000 test images.
        seconds: of training.

    """

    data: str
    network: str
    seed: int
    rate: float
    first: str
    restarts: int
    kept: float
    failed: bool
    converged: bool
    residual_rms: float
    test_accuracy: float
    seconds: float


def train(name: str, network: str, seed: int, rate: float, root: Path | None, more: dict[str, Any]) -> Trained:
    """Train once; by default as ``trainer fit`` does, else at the given rate alone."""
    data, ids = made(name, seed, root)
    model = build_model(network, data.input_shape, data.num_classes, seed, **NETWORKS[network])
    x, labels = data.inputs("train", ids), data.labels("train", ids)
    test = np.arange(min(2000, len(data.test)))
    classes, restarts = data.num_classes, 0 if rate else None
    options = options_for(network, num_classes=classes, max_lr=rate or None, restarts=restarts, **more)
    started, result = time.perf_counter(), None
    with contextlib.suppress(Diverged):  # the network is the one that it was
        result = fit(model, x, labels, data.num_classes, options, seed=seed)
    seconds = time.perf_counter() - started
    return Trained(
        data=name,
        network=network,
        seed=seed,
        rate=rate,
        first="diverged" if result is None else result.restarts[0].reason if result.restarts else "",
        restarts=0 if rate else RESTARTS if result is None else min(len(result.restarts), RESTARTS),
        kept=math.nan if result is None else result.max_lr,
        failed=result is None or result.at_chance,
        converged=result is not None and result.converged,
        residual_rms=math.nan if result is None else round(result.residual_rms, 4),
        test_accuracy=accuracy(predict(model, data.inputs("test", test)), data.labels("test", test)),
        seconds=round(seconds, 2),
    )


class Kept:
    """Trainings by what they are, in a file of each network where there is a folder, so that one can go on."""

    def __init__(self, folder: Path | None) -> None:
        self.folder, self.trained = folder, dict[tuple[str, str, int, float], Trained]()
        for path in sorted(folder.glob("*.csv")) if folder else ():
            with path.open(newline="") as file:
                for row in csv.DictReader(file):
                    self._hold(Trained(**{f.name: _CASTS[str(f.type)](row[f.name]) for f in fields(Trained)}))

    def _hold(self, one: Trained) -> None:
        self.trained[one.data, one.network, one.seed, one.rate] = one

    def of(
        self,
        name: str,
        network: str,
        seed: int,
        rate: float,
        root: Path | None = None,
        more: dict[str, Any] | None = None,
    ) -> Trained:
        """Return a training, which is done where it has not been.

        The default whose first attempt did not fail is that at its rate, to the last bit, which is not done again.
        """
        default = self.trained.get((name, network, seed, 0.0))
        if default and not default.restarts and default.kept == rate:
            return default
        if (name, network, seed, rate) not in self.trained:
            one = train(name, network, seed, rate, root, more or {})
            self._hold(one)
            if self.folder:
                path = self.folder / f"{network}.csv"
                self.folder.mkdir(exist_ok=True)
                begun = path.exists()
                with path.open("a", newline="") as file:
                    writer = csv.DictWriter(file, [field.name for field in fields(Trained)], lineterminator="\n")
                    if not begun:
                        writer.writeheader()
                    writer.writerow(asdict(one))
        return self.trained[name, network, seed, rate]

    def complete(self, name: str, network: str, rates: Sequence[float]) -> list[int]:
        """Return the seeds of which the default and all of these rates are there."""
        seeds = {seed for data, net, seed, _ in self.trained if (data, net) == (name, network)}

        def there(seed: int, rate: float) -> bool:
            default = self.trained.get((name, network, seed, 0.0))
            same = default is not None and not default.restarts and default.kept == rate
            return same or (name, network, seed, rate) in self.trained

        return sorted(seed for seed in seeds if all(there(seed, rate) for rate in (0.0, *rates)))


_CASTS: dict[str, Callable[[str], Any]] = {"str": str, "int": int, "float": float, "bool": "True".__eq__}


def row(kept: Kept, name: str, network: str, rates: Sequence[float]) -> str | None:
    """Return what the table says of a data set and network; None where no seed is complete."""
    seeds = kept.complete(name, network, rates)
    if not seeds:
        return None
    default = [kept.of(name, network, seed, 0.0) for seed in seeds]
    means = {
        rate: statistics.fmean(kept.of(name, network, seed, rate).test_accuracy for seed in seeds) for rate in rates
    }
    best = max(means, key=means.__getitem__)
    apart = [one.test_accuracy - kept.of(name, network, one.seed, best).test_accuracy for one in default]
    error = f" ± {statistics.stdev(apart) / math.sqrt(len(apart)):.3f}" if len(apart) > 1 else ""
    first = [one.first for one in default]
    figures = (
        f"{name}, {KINDS[name].labels} labels",
        network,
        f"{len(seeds)}",
        ", ".join(str(first.count(reason)) for reason in get_args(Failure) if reason != "unsteady"),
        f"{sum(one.failed for one in default)}",
        f"{statistics.fmean(one.restarts for one in default):.1f}",
        ", ".join(f"{rate:.3g}" for rate in sorted({one.kept for one in default})),
        f"{sum(one.converged for one in default)}",
        f"{statistics.fmean(one.test_accuracy for one in default):.3f}",
        f"{means[best]:.3f} at {best:g}",
        f"{statistics.fmean(apart):+.3f}{error}",
        f"{statistics.median(one.seconds for one in default):.1f}",
    )
    return "| " + " | ".join(figures) + " |"


@click.command()
@click.option("--data-root", type=click.Path(path_type=Path), help="Of MNIST, which is left out without it.")
@click.option("--kinds", default=",".join(KINDS), help="Data sets, by comma.")
@click.option("--networks", default=",".join(NETWORKS), help="Networks, by comma.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--rates", default=",".join(map(str, RATES)), help="Fixed rates, by comma.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to keep every training in, and to go on from.")
@click.option("--table", is_flag=True, help="Train nothing: the table of the seeds that are complete in --out.")
@click.option("--small", is_flag=True, help="A smoke run: two data sets, one seed, one fixed rate, few epochs.")
def main(
    data_root: Path | None,
    kinds: str,
    networks: str,
    seeds: int,
    rates: str,
    out: Path | None,
    table: bool,
    small: bool,
) -> None:
    """Train by default on unlike data sets, and beside that at fixed rates."""
    more = dict[str, Any]()
    if small:
        kinds, networks, seeds, rates, more = "colour only,20 labels", "cnn,mlp", 1, "0.1", {"epochs": 10}
    names = [name for name in kinds.split(",") if name != "mnist" or data_root is not None or table]
    cells = [(network, name) for network in networks.split(",") for name in names]
    kept, fixed = Kept(out), tuple(map(float, rates.split(",")))
    for seed in range(0 if table else seeds):  # all of one seed first, so that what is there is of all data
        for network, name in cells:
            for rate in (0.0, *fixed):
                kept.of(name, network, seed, rate, data_root, more)
    print(
        "| data | network | seeds | first attempts that diverged, died, blew up | failed in the end | restarts | "
        "rates kept | converged | test accuracy | best fixed rate | difference | s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for network, name in cells:
        line = row(kept, name, network, fixed)
        if line:
            print(line)


if __name__ == "__main__":
    main()
