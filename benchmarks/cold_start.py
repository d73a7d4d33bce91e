"""Which images to label first, before there is any label: representatives of the pool beside images drawn at random.

    python benchmarks/cold_start.py digits --model linear
    python benchmarks/cold_start.py mnist --data-root data --model cnn --ways random,typiclust,k-means
    python benchmarks/cold_start.py npz:cifar10.npz --out cold.csv        # features, by benchmarks/backbone_features.py
    python benchmarks/cold_start.py npz:cifar10.npz --classes 3,5           # two classes
    python benchmarks/cold_start.py npz:cifar10.npz --rare 0.1              # half of the classes ten times rarer
    python benchmarks/cold_start.py --table --out cold.csv                 # what is there, as a table

Each seed draws another pool of the training samples.  Of every way the first 10, 20 and 50 samples are labelled, a
network is trained on them by default, and its accuracy on the test half (of rare classes, the mean over classes) and
the number of classes among them are written down.
"""

from __future__ import annotations

import csv
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from pipeline.cold.medoids import k_means_medoids
from pipeline.cold.points import directions, vectors
from pipeline.cold.typical import in_rounds
from pipeline.queries.clusters import k_means
from pipeline.queries.coreset import k_center_greedy
from pipeline.queries.probcover import greedy_cover, pure_radius
from trainer.data import DataSet, ImageOptions, custom_kind, load
from trainer.loop import fit
from trainer.models import build_model
from trainer.options import options_for
from trainer.predict import predict

COUNTS = (10, 20, 50)
TEST = 1000  # test samples at most
RIDGE = 0.01  # of the kernel's mean diagonal, where a way looks at posterior variances
Points = NDArray[np.float32]
Way = Callable[[Points, int, np.random.Generator], NDArray[np.int64]]


def at_random(points: Points, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Drawn uniformly."""
    return rng.permutation(len(points))[:n]


def greedy_medoids(points: Points, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """k-medoids by its first phase alone: each takes most off the sum of distances to the nearest chosen one."""
    norms = (points**2).sum(1)
    distances = np.sqrt(np.maximum(norms[:, None] + norms - 2 * points @ points.T, 0))
    nearest, order = np.full(len(points), distances.max()), list[int]()
    for _ in range(n):
        gains = np.array([np.maximum(nearest - row, 0).sum() for row in distances])
        gains[order] = -1
        order.append(int(gains.argmax()))
        nearest = np.minimum(nearest, distances[order[-1]])
    return np.array(order)


def prob_cover(points: Points, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """ProbCover, δ by clusters of k-means, ten of them."""
    x = points.astype(np.float64)
    return greedy_cover(x, 0, pure_radius(x, k_means(x, 10, rng).of), n)


def core_set(points: Points, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """k-center greedy from the point nearest to the mean."""
    x = points.astype(np.float64)
    first = int(((x - x.mean(0)) ** 2).sum(1).argmin())
    distances = k_center_greedy(x, x[[first]], n)
    distances[first] = np.inf
    return np.argsort(-distances, kind="stable")[:n]


def max_det(points: Points, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Largest posterior variance in the kernel x·x' + 1 of a linear network."""
    return _by_kernel(points, n, lambda K: K.diagonal().copy())


def variance(points: Points, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Takes most of all the pool's posterior variance in that kernel."""
    return _by_kernel(points, n, lambda K: (K**2).sum(0) / (np.diag(K) + RIDGE))


def _by_kernel(points: Points, n: int, score: Callable[[NDArray], NDArray]) -> NDArray[np.int64]:
    x = points.astype(np.float64) / np.sqrt((points**2).sum(1).mean())
    K, order = x @ x.T + 1, list[int]()
    for _ in range(n):
        scores = score(K)
        scores[order] = -1
        order.append(i := int(scores.argmax()))
        K = K - np.outer(K[i], K[i]) / (K[i, i] + RIDGE)
    return np.array(order)


WAYS: dict[str, Way] = {
    "random": at_random,
    "typiclust": lambda points, n, rng: in_rounds(points, n, 0, rng),
    "k-means": lambda points, n, rng: k_means_medoids(points, n, 0, rng),
    "greedy medoids": greedy_medoids,
    "probcover": prob_cover,
    "coreset": core_set,
    "maxdet": max_det,
    "variance": variance,
}


@dataclass(frozen=True)
class Row:
    """One network."""

    setting: str
    model: str
    way: str
    seed: int
    labels: int
    classes: int
    accuracy: float
    seconds: float


def pool_of(data: DataSet, size: int, rare: float | None, kept: list[int], seed: int) -> NDArray[np.int64]:
    """Draw the ids of a pool, at most half of what there is; of the upper half of the classes a share is kept."""
    rng, labels = np.random.default_rng(seed), data.train.labels
    ids = rng.permutation(len(labels))
    ids = ids[np.isin(labels[ids], kept)]
    if rare is not None:
        scarce = np.isin(labels[ids], kept[len(kept) // 2 :])
        ids = ids[~scarce | (rng.random(len(ids)) < rare)]
    return ids[: min(size, max(len(ids) // 2, 60))]


def accuracy_of(data: DataSet, model: str, ids: NDArray, kept: list[int], seed: int, mean: bool) -> float:
    """Train on samples and return the accuracy on the test half."""
    number = {label: n for n, label in enumerate(kept)}
    labels = np.array([number[int(label)] for label in data.labels("train", ids)])
    test = np.flatnonzero(np.isin(data.test.labels, kept))[:TEST]
    truth = np.array([number[int(label)] for label in data.test.labels[test]])
    if len(set(labels)) < 2:
        return float(np.mean(truth == labels[0]))
    network = build_model(model, data.input_shape, len(kept), seed=seed)
    fit(network, data.inputs("train", ids), labels, len(kept), options_for(model, num_classes=len(kept)), seed=seed)
    right = predict(network, data.inputs("test", test)).argmax(1) == truth
    return float(np.mean([right[truth == c].mean() for c in np.unique(truth)]) if mean else right.mean())


def measure(
    data: DataSet,
    setting: str,
    model: str,
    ways: list[str],
    seeds: range,
    size: int,
    kept: list[int],
    rare: float | None,
    counts: tuple[int, ...],
) -> Iterator[Row]:
    """Yield a row for each seed, way and number of labels."""
    for seed in seeds:
        pool = pool_of(data, size, rare, kept, seed)
        points = directions(vectors(data, pool), seed)
        for way in ways:
            for n in counts:
                started = time.perf_counter()
                chosen = pool[WAYS[way](points, n, np.random.default_rng(seed))]
                seconds = time.perf_counter() - started
                seen = len(set(data.labels("train", chosen).tolist()))
                right = accuracy_of(data, model, chosen, kept, seed, rare is not None)
                yield Row(setting, model, way, seed, n, seen, right, seconds)


def table(rows: list[Row]) -> None:
    """Print means, standard errors and, over the same pools, the difference from random."""
    for setting, model in dict.fromkeys((row.setting, row.model) for row in rows):
        mine = [row for row in rows if (row.setting, row.model) == (setting, model)]
        counts = sorted({row.labels for row in mine})
        print(f"\n{setting}, {model}, {len({row.seed for row in mine})} pools\n")
        print("| way | " + " | ".join(f"{n} labels, % | classes" for n in counts) + " |")
        print("|---" * (1 + 2 * len(counts)) + "|")
        for way in dict.fromkeys(row.way for row in mine):
            cells = []
            for n in counts:
                of_way = {row.seed: row for row in mine if (row.way, row.labels) == (way, n)}
                base = {row.seed: row for row in mine if (row.way, row.labels) == ("random", n)}
                mean = 100 * statistics.fmean(row.accuracy for row in of_way.values())
                gains = [100 * (of_way[s].accuracy - base[s].accuracy) for s in of_way if s in base]
                said = f"{mean:.1f}"
                if way != "random" and len(gains) > 1:
                    said += f" ({statistics.fmean(gains):+.1f} ± {statistics.stdev(gains) / len(gains) ** 0.5:.1f})"
                cells += [said, f"{statistics.fmean(row.classes for row in of_way.values()):.1f}"]
            print(f"| {way} | " + " | ".join(cells) + " |")


@click.command()
@click.argument("dataset", required=False)
@click.option("--data-root", type=click.Path(path_type=Path))
@click.option("--image-size", default=32, show_default=True, help="Of a folder's images.")
@click.option("--test-fraction", default=0.4, show_default=True, help="Of a folder's images, of each class.")
@click.option("--model", default="linear", show_default=True)
@click.option("--ways", default=",".join(WAYS), show_default=True)
@click.option("--seeds", default=8, show_default=True)
@click.option("--pool", default=1500, show_default=True)
@click.option("--classes", help="Numbers of the classes that are kept, such as 3,5.  [all]")
@click.option("--rare", type=float, help="Share that is kept of the upper half of the classes.  [all]")
@click.option("--small", is_flag=True, help="One seed, 10 labels: a smoke run.")
@click.option("--table", "tabled", is_flag=True, help="Print what is in OUT alone.")
@click.option("--out", type=click.Path(path_type=Path), help="A .csv that rows are added to.")
def main(
    dataset: str | None,
    data_root: Path | None,
    image_size: int,
    test_fraction: float,
    model: str,
    ways: str,
    seeds: int,
    pool: int,
    classes: str | None,
    rare: float | None,
    small: bool,
    tabled: bool,
    out: Path | None,
) -> None:
    """Label first what each way chooses, train, and see what it was worth."""
    rows = read(out) if out is not None and out.is_file() else []
    if not tabled:
        if dataset is None:
            raise click.UsageError("expected a data set")
        images = ImageOptions(image_size=image_size, mode="rgb", test_fraction=test_fraction, stratified=True)
        data = load(dataset, root=data_root, images=images if custom_kind(dataset) == "folder" else None)
        kept = [int(n) for n in classes.split(",")] if classes else list(range(data.num_classes))
        setting = Path(dataset.partition(":")[2] or dataset).stem + (f" {classes}" if classes else "")
        setting += f" rare {rare:g}" if rare is not None else ""
        counts, seeded = (COUNTS[:1], range(1)) if small else (COUNTS, range(seeds))
        mine: list[Row] = []
        for row in measure(data, setting, model, ways.split(","), seeded, pool, kept, rare, counts):
            mine.append(row)
            if out is not None:
                write(out, [*rows, *mine])
        rows = [*rows, *mine] if out is None else mine
    table(rows)


def write(out: Path, rows: list[Row]) -> None:
    """Write the rows."""
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(
            {**asdict(row), "accuracy": round(row.accuracy, 4), "seconds": round(row.seconds, 3)} for row in rows
        )


def read(out: Path) -> list[Row]:
    """Return rows that were written."""
    kinds = {"seed": int, "labels": int, "classes": int, "accuracy": float, "seconds": float}
    with out.open(newline="") as file:
        return [Row(**{k: kinds.get(k, str)(v) for k, v in row.items()}) for row in csv.DictReader(file)]


if __name__ == "__main__":
    main()
