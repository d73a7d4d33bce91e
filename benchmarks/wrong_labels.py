"""Labels that look wrong: how many of the flagged ones are wrong, beside cleanlab's ranking of the same predictions.

    pip install --no-deps cleanlab==2.9.0 termcolor
    python benchmarks/wrong_labels.py --seeds 4 --out benchmarks/wrong_labels.csv          # digits, and MNIST's 5,000
    python benchmarks/wrong_labels.py --features cifar.npz,photos.npz --seeds 4 --out benchmarks/wrong_labels.csv

A network is trained on labels of which 5 % are flipped to another class, each with its own draw of images.  What is
flagged are as many labels as are wrong, so precision and recall are one number.  Out of sample are the leave-one-out
predictions of kernel regression (``linearize.doubtful``), by the network's tangent kernel, by its last layer's features
or by the inputs alone.  cleanlab is given the same predictions as probabilities (clipped at 0 and normalised, and by
softmax) and, as its users would, probabilities of a 5-fold cross-validation of the network itself.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from common.losses import get_loss
from linearize import KernelOptions, empirical_ntk
from linearize.doubtful import features_kernel, left_out
from migrator import migrate
from trainer.data import load
from trainer.features import embed
from trainer.loop import fit
from trainer.models import build_model
from trainer.options import options_for
from trainer.predict import predict

RIDGES = (0.001, 0.01, 0.1, 1.0)
FLIPPED = 0.05
FOLDS = 5
FIELDS = ("data", "network", "labels", "seed", "wrong", "method", "ridge", "auroc", "precision")
CASES = (("digits", "cnn", 200), ("digits", "mlp", 200), ("mnist5k", "cnn", 300))


def flipped(labels: NDArray[np.int64], classes: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray]:
    """Return labels of which a share is another class, and which are."""
    wrong = np.zeros(len(labels), bool)
    wrong[rng.choice(len(labels), round(FLIPPED * len(labels)), replace=False)] = True
    moved = (labels + rng.integers(1, classes, len(labels))) % classes
    return np.where(wrong, moved, labels), wrong


def trained(network: str, x: NDArray[np.float32], y: NDArray[np.int64], classes: int, seed: int) -> Any:
    model = build_model(network, x.shape[1:], classes, seed)
    fit(model, x, y, classes, options_for(network, num_classes=classes), seed=seed)
    return model


def cross_validated(network: str, x: NDArray[np.float32], y: NDArray[np.int64], classes: int, seed: int) -> NDArray:
    """Probabilities of every image by the network that was trained on the other folds."""
    fold = np.random.default_rng(seed).permutation(len(y)) % FOLDS
    p = np.empty((len(y), classes))
    for one in range(FOLDS):
        model = trained(network, x[fold != one], y[fold != one], classes, seed)
        p[fold == one] = get_loss(options_for(network).loss).probabilities.of(predict(model, x[fold == one]))
    return p


def kernels(model: Any, x: NDArray[np.float32]) -> dict[str, Callable[[], NDArray]]:
    """What leave-one-out predictions may be made by."""

    def tangent() -> NDArray:
        port = migrate(model, (torch.zeros(2, *x.shape[1:]),))
        return empirical_ntk(port.apply_fn, port.variables, x, options=KernelOptions())

    return {
        "tangent kernel": tangent,
        "last layer": lambda: features_kernel(embed(model, x).features),
        "inputs": lambda: features_kernel(x.reshape(len(x), -1)),
    }


def judged(name: str, ridge: float | str, doubt: NDArray, wrong: NDArray) -> tuple[str, float | str, str, str]:
    """A row's end: AUROC, and the share of wrong ones among as many flagged as are wrong."""
    flagged = np.argsort(-doubt, kind="stable")[: wrong.sum()]
    return name, ridge, f"{roc_auc_score(wrong, doubt):.4f}", f"{wrong[flagged].mean():.4f}"


def cleanlab_of(given: NDArray[np.int64], p: NDArray) -> NDArray:
    """Cleanlab's doubt: its label quality scores (self-confidence, its default), turned round."""
    from cleanlab.rank import get_label_quality_scores

    return 1 - get_label_quality_scores(given, p)


def as_probabilities(predicted: NDArray) -> NDArray:
    p = np.clip(predicted, 1e-9, None)
    return p / p.sum(1, keepdims=True)


def rows_of(data: Any, network: str, labels: int, seed: int) -> Iterator[tuple[str, float | str, str, str]]:
    rng, C = np.random.default_rng(seed), data.num_classes
    ids = rng.choice(len(data.train), min(labels, len(data.train)), replace=False)
    x, (given, wrong) = data.inputs("train", ids), flipped(data.labels("train", ids), C, rng)
    model = trained(network, x, given, C, seed)
    for name, kernel in kernels(model, x).items():
        theta = kernel()
        for ridge in RIDGES:
            found = left_out(theta, given, C, ridge)
            yield judged(name, ridge, found.lead, wrong)
            if ridge == 0.1:
                yield judged(
                    f"cleanlab, {name}, clipped", ridge, cleanlab_of(given, as_probabilities(found.predicted)), wrong
                )
                yield judged(
                    f"cleanlab, {name}, softmax", ridge, cleanlab_of(given, softmax(found.predicted, 1)), wrong
                )
    f = predict(model, x)
    others = np.where(np.eye(C)[given] == 1, -np.inf, f).max(1)
    yield judged("the network's own outputs", "", others - f[np.arange(len(f)), given], wrong)
    yield judged("cleanlab, 5-fold network", "", cleanlab_of(given, cross_validated(network, x, given, C, seed)), wrong)


@click.command()
@click.option("--features", default="", help="Archives of features, by comma, in the place of digits and MNIST.")
@click.option("--seeds", default=4, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The table, which is gone on with.")
@click.option("--table", is_flag=True, help="Train nothing: means over the seeds that are there.")
def main(features: str, seeds: int, out: Path, table: bool) -> None:
    """Flip labels, and count how many of them are found."""
    cases = [(f"npz:{path}", "linear", 200) for path in filter(None, features.split(","))] or list(CASES)
    if not out.is_file():
        out.write_text(",".join(FIELDS) + "\n")
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    known = {(row["data"], row["network"], int(row["seed"])) for row in rows}
    for seed in range(0 if table else seeds):
        for name, network, labels in cases:
            shown = name if ":" not in name else f"features of {Path(name).stem}"
            if (shown, network, seed) in known:
                continue
            data = load(name)
            ends = list(rows_of(data, network, labels, seed))
            with out.open("a", newline="") as file:
                start = (shown, network, labels, seed, round(FLIPPED * labels))
                csv.writer(file, lineterminator="\n").writerows((*start, *end) for end in ends)
            print(shown, network, seed, *(f"{m} {r}: {a} {p};" for m, r, a, p in ends), flush=True)
    if table:
        means: dict[tuple[str, ...], list[tuple[float, float]]] = {}
        for row in rows:
            key = (row["data"], row["network"], row["method"], row["ridge"])
            means.setdefault(key, []).append((float(row["auroc"]), float(row["precision"])))
        print("| data | network | method | λ | seeds | AUROC | precision = recall |\n|---|---|---|---|---|---|---|")
        for key, values in means.items():
            auroc, precision = np.mean(values, axis=0)
            print(f"| {' | '.join(key)} | {len(values)} | {auroc:.3f} | {precision:.2f} |")


if __name__ == "__main__":
    main()
