"""Learning curves of unlike data sets and networks, for the prior of the stop advice and for its validation.

    python benchmarks/learning_curves.py --data-root data --photos photos --features c.npz,p.npz --out curves.csv

Each curve is one labelling: its first images are drawn at random, the others at random too or by the smallest margin
of the network before, and a network is trained anew at each number of labels.  Kept are the accuracy on all test
images and, of the first 240 of them in an order of the seed's, which it gets right, so that check sets can be drawn
afterwards.  A file that is there already is gone on with.
"""

from __future__ import annotations

import csv
import itertools
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import unlike
from numpy.typing import NDArray

from trainer.data import ImageOptions, load
from trainer.exact import Spectrum
from trainer.loop import fit
from trainer.models import build_model
from trainer.options import options_for
from trainer.predict import predict

LADDER = (10, 20, 40, 60, 70, 80, 100, 110, 120, 150, 160, 180, 200, 210, 220, 250, 260, 300)
"""Labels; from 20, 60, 100, 160 and 200 there are rungs 20, 50 and 100 labels further."""
CHECKED = 240
CANDIDATES = 500
POOL, TEST = 1200, 600  # of a made-up data set
FIELDS = ("data", "network", "strategy", "seed", "classes", "test", "labels", "accuracy", "right")
CATS_AND_DOGS = (3, 5)
RIDGES = (0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class Data(NamedTuple):
    """Images or features, normalised, and their classes."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]

    @property
    def classes(self) -> int:
        """How many there are."""
        return int(max(self.y.max(), self.y_test.max())) + 1


def made_up(make: unlike.Maker) -> Callable[[], Data]:
    """Return the maker of a data set of which everything is normalised by the training half."""

    def of() -> Data:
        rng = np.random.default_rng(0)
        x, y = make(rng, POOL + TEST)
        order = rng.permutation(len(x))
        x, y = x[order], y[order]
        axes = (0, *range(2, x.ndim))
        x = (x - x[:POOL].mean(axes, keepdims=True)) / x[:POOL].std(axes, keepdims=True)
        return Data(x[:POOL].astype(np.float32), y[:POOL], x[POOL:].astype(np.float32), y[POOL:])

    return of


def loaded(name: str, limit: int = 4000, only: tuple[int, ...] = (), **options: Any) -> Callable[[], Data]:
    """Return the maker of a data set that ``trainer`` knows, or of some of its classes."""

    def of() -> Data:
        data = load(name, **options)

        def half(which: Any, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
            labels = data.labels(which)
            ids = np.flatnonzero(np.isin(labels, only) if only else labels >= 0)
            ids = np.random.default_rng(0).permutation(ids)[:count]
            y = np.searchsorted(only, labels[ids]) if only else labels[ids]
            return data.inputs(which, ids), y.astype(np.int64)

        return Data(*half("train", limit), *half("test", 1000))

    return of


def embeddings(rng: np.random.Generator, n: int, noise: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Those of ``unlike``, with more noise: 10 classes that are learned slowly."""
    centres = np.maximum(0, np.random.default_rng(3).standard_normal((10, 128)))
    labels = np.arange(n) % 10
    return 50 * np.maximum(0, centres[labels] + noise * rng.standard_normal((n, 128)))[:, None, None], labels


def breast_cancer() -> Data:
    """30 measurements of 569 tumours, two classes."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = ((x - x.mean(0)) / x.std(0))[order].astype(np.float32)[:, None, None], y[order].astype(np.int64)
    return Data(x[:320], y[:320], x[320:], y[320:])


def sets(root: Path | None, photos: Path | None, features: str) -> dict[str, Callable[[], Data]]:
    """Return the data sets there are."""
    proto = unlike.prototypes
    found: dict[str, Callable[[], Data]] = {
        "digits": loaded("digits"),
        "mnist5k": loaded("mnist5k"),
        "breast cancer": breast_cancer,
        "X-rays": made_up(unlike.x_rays),
        "colours": made_up(unlike.colours),
        "embeddings": made_up(lambda rng, n: embeddings(rng, n, noise=1.5)),
        "prototypes 2": made_up(proto(2, 16, 16, mean=128, contrast=35, noise=2.5)),
        "prototypes 5": made_up(proto(5, 16, 16, mean=128, contrast=35, noise=1.2)),
        "prototypes 10": made_up(proto(10, 16, 16, mean=6, contrast=4, noise=1.0)),
        "prototypes 100": made_up(proto(100, 12, 12, mean=128, contrast=35, noise=0.4)),
    }
    if root is not None:
        found["cifar10"] = loaded("cifar10", root=root)
        found["cats and dogs"] = loaded("cifar10", root=root, only=CATS_AND_DOGS)
    if photos is not None:
        options = ImageOptions(image_size=24, mode="rgb", test_fraction=0.4)
        found["photos"] = loaded(f"folder:{photos}", images=options)
    for path in filter(None, features.split(",")):
        found[f"features of {Path(path).stem}"] = loaded(f"npz:{path}")
    return found


def ridge(data: Data, ids: NDArray[np.int64], seed: int) -> Callable[[NDArray[np.float32]], NDArray[np.float64]]:
    """Ridge regression of one-hot labels, with the λ of the smallest leave-one-out error."""
    T = np.eye(data.classes)[data.y[ids]] - 1 / data.classes
    spectrum = Spectrum(data.x[ids].reshape(len(ids), -1).astype(np.float64), T)
    W = spectrum.weights(min(RIDGES, key=lambda ridge: np.square(spectrum.left_out(ridge)).sum()))
    return lambda x: x.reshape(len(x), -1).astype(np.float64) @ W[:-1] + W[-1]


def network(name: str) -> Callable[..., Any]:
    """Return what trains a network of ``trainer`` by its defaults."""

    def train(data: Data, ids: NDArray[np.int64], seed: int) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        model = build_model(name, data.x.shape[1:], data.classes, seed)
        fit(model, data.x[ids], data.y[ids], data.classes, options_for(name, num_classes=data.classes), seed=seed)
        return lambda x: predict(model, x)

    return train


NETWORKS = {"ridge": ridge, "linear": network("linear"), "mlp": network("mlp"), "cnn": network("cnn")}


def curve(data: Data, kind: str, strategy: str, seed: int) -> list[tuple[int, float, str]]:
    """Return labels, accuracy and which of the checked images are right, at each rung."""
    rng = np.random.default_rng((seed, zlib.crc32(strategy.encode())))
    test = rng.permutation(len(data.y_test))
    left, known, points = rng.permutation(len(data.y)), np.empty(0, np.int64), []
    outputs: Callable[..., Any] | None = None
    for labels in (rung for rung in LADDER if rung <= 0.9 * len(data.y)):
        wanted = labels - len(known)
        if strategy == "margin" and outputs is not None:
            first, second = -np.sort(-np.asarray(outputs(data.x[left[:CANDIDATES]])), 1).T[:2]
            order = np.argsort(first - second, kind="stable")
            left = np.concatenate([left[:CANDIDATES][order], left[CANDIDATES:]])
        known, left = np.concatenate([known, left[:wanted]]), rng.permutation(left[wanted:])
        if len(np.unique(data.y[known])) < 2:
            continue
        outputs = NETWORKS[kind](data, known, 1000 * seed + labels)
        right = np.asarray(outputs(data.x_test)).argmax(1) == data.y_test
        bits = np.packbits(right[test[:CHECKED]]).tobytes().hex()
        points.append((labels, float(right.mean()), bits))
    return points


@click.command()
@click.option("--data-root", type=click.Path(path_type=Path), help="Of CIFAR-10, which is left out without it.")
@click.option("--photos", type=click.Path(path_type=Path), help="Class folders, which are left out without them.")
@click.option("--features", default="", help="Archives of features, by comma.")
@click.option("--networks", default="ridge,mlp", show_default=True, help=f"Of {', '.join(NETWORKS)}.")
@click.option("--only", default="", help="Data sets, by comma.  [all]")
@click.option("--seeds", default=4, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The table, which is gone on with.")
def main(
    data_root: Path | None, photos: Path | None, features: str, networks: str, only: str, seeds: int, out: Path
) -> None:
    """Train along learning curves, and keep them."""
    known = set()
    if out.is_file():
        with out.open(newline="") as file:
            known = {(r["data"], r["network"], r["strategy"], int(r["seed"])) for r in csv.DictReader(file)}
    else:
        out.write_text(",".join(FIELDS) + "\n")
    made: dict[str, Data] = {}
    there = sets(data_root, photos, features)
    names = [name for name in there if not only or name in only.split(",")]
    cells = itertools.product(range(seeds), networks.split(","), names, ("random", "margin"))
    for seed, kind, name, strategy in cells:
        if (name, kind, strategy, seed) in known:
            continue
        if name not in made:
            made[name] = there[name]()
        data = made[name]
        started = time.perf_counter()
        points = curve(data, kind, strategy, seed)
        with out.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            for labels, value, bits in points:
                row = (name, kind, strategy, seed, data.classes, len(data.y_test), labels, f"{value:.4f}", bits)
                writer.writerow(row)
        print(f"{name}, {kind}, {strategy}, seed {seed}: {time.perf_counter() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
