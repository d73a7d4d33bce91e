"""Ways of learning features without labels, at equal processor time: how well a linear layer then does with few labels.

    OMP_NUM_THREADS=1 python benchmarks/pretraining_methods.py --dataset cifar10 --dataset mnist --data-root data \
        --seconds 60 --seeds 0-1 --out methods.jsonl
    python benchmarks/pretraining_methods.py --table methods.jsonl
    python benchmarks/pretraining_methods.py --speed --dataset cifar10 --data-root data      # what a step takes

Each method of `trainer pretrain` learns from the first --train training images for --seconds of processor time, with
the same network, batches and views.  A ridge regression of one-hot labels on the features of --labels random images
of them, its ridge chosen by leave-one-out on these alone, is then tested on the first 2,000 test images; mean over ten
draws of the labels.  The row `untrained` is the network at its random weights, `pixels` no network.  A file that is
there is gone on with.
"""

from __future__ import annotations

import copy
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from trainer.data import DataSet, load
from trainer.models import ModelSpec
from trainer.predict import predict
from trainer.pretraining import METHODS
from trainer.pretraining.command import Body, bodied
from trainer.pretraining.training import Pixels, Regime, Training
from trainer.pretraining.views import ViewOptions, cropped, recoloured

TESTS, DRAWS = 2000, 10
RIDGES = np.logspace(-3, 2, 16)  # relative to the mean eigenvalue


def probe(h: NDArray, y: NDArray, h_test: NDArray, y_test: NDArray, labels: int) -> float:
    """Mean accuracy, in percent, of a ridge regression on the features of random labelled images."""
    right = []
    for draw in range(DRAWS):
        chosen = np.random.default_rng(draw).choice(len(h), labels, replace=False)
        mean, std = h[chosen].mean(0), h[chosen].std(0) + 1e-6
        X, X_test = (h[chosen] - mean) / std, (h_test - mean) / std
        Y = np.eye(10)[y[chosen]] - 0.1
        w, V = np.linalg.eigh(X @ X.T)
        best = (np.inf, Y)
        for ridge in RIDGES * w.mean():
            A = V @ ((V.T @ Y) / (w + ridge)[:, None])
            left_out = A / (V**2 @ (1 / (w + ridge)))[:, None]  # residuals of leave-one-out
            best = min(best, (float((left_out**2).sum()), A), key=lambda pair: pair[0])
        right.append((X_test @ (X.T @ best[1])).argmax(1) == y_test)
    return 100 * float(np.mean(right))


def made(data: DataSet, options: dict[str, Any], method: str, seed: int) -> tuple[Body, Training]:
    """A network without its last layer, and a training of it whose schedule fits the seconds."""
    spec = ModelSpec(options["model"], data.input_shape, 10, json.loads(options["options"]))
    pixels = Pixels(data.train.images[: options["train"]], data.scale, data.mean, data.std)
    views = ViewOptions(options["smallest_crop"], data.input_shape[0] == 3, 1.0)
    regime = Regime(method, options["batch_size"], options["max_lr"], 1e-4, views, False, seed)

    def begun(steps: int) -> tuple[Body, Training]:
        body = bodied(spec, None, seed)
        return body, Training(body.net, body.layer.in_features, pixels, regime, steps)

    _, trial = begun(1000)
    trial.step()
    started = time.process_time()
    for _ in range(4):
        trial.step()
    return begun(max(1, int(options["seconds"] / (time.process_time() - started) * 4)))


def cell(data: DataSet, options: dict[str, Any], method: str, seed: int) -> dict[str, Any]:
    """Learn, and probe."""
    n = options["train"]
    x, x_test = data.inputs("train", np.arange(n)), data.inputs("test", np.arange(TESTS))
    h, h_test, record = x, x_test, dict[str, Any]()
    if method != "pixels":
        body, training = made(data, options, "simclr" if method == "untrained" else method, seed)
        started = time.process_time()
        for _ in range(0 if method == "untrained" else training.steps):
            loss = training.step()
            record = {"steps": training.steps, "seconds": time.process_time() - started, "loss": loss}
        h, h_test = predict(body.net, x), predict(body.net, x_test)
    flat = [part.reshape(len(part), -1).astype(np.float64) for part in (h, h_test)]
    y, y_test = data.labels("train", np.arange(n)), data.labels("test", np.arange(TESTS))
    accuracy = probe(flat[0], y, flat[1], y_test, options["labels"])
    return {"dataset": data.name, "method": method, "seed": seed, "accuracy": accuracy, **record}


def speed(data: DataSet, options: dict[str, Any]) -> None:
    """Say what a step spends processor time on."""

    def seconds(call: Any, times: int = 5) -> float:
        call()
        started = time.process_time()
        for _ in range(times):
            call()
        return 1000 * (time.process_time() - started) / times

    images = torch.from_numpy(data.train.images[: options["batch_size"]].copy()).float() / data.scale
    generator = torch.Generator().manual_seed(0)
    print(
        f"of one view of {len(images)} images: crops {seconds(lambda: cropped(images, 0.2, True, generator)):.1f} ms,"
    )
    print(f"  colours {seconds(lambda: recoloured(images, 1.0, generator)):.1f} ms")
    for method in METHODS:
        _, training = made(data, options | {"seconds": 1.0}, method, 0)
        both = seconds(lambda: training.views(0))  # noqa: B023
        views = training.views(0)

        def network() -> None:
            training.encoder(views).sum().backward()  # noqa: B023

        whole = seconds(training.step)
        print(
            f"{method}: {whole:.0f} ms a step ({1000 * options['batch_size'] / whole:,.0f} images/s), "
            f"views {both:.0f}, network forward and backward {seconds(network):.0f}",
            flush=True,
        )


def table(path: Path) -> None:
    """Print what was measured, mean over seeds and each seed."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for line in path.read_text().splitlines():
        rows[(row := json.loads(line))["dataset"], row["method"]].append(row)
    for (dataset, method), found in rows.items():
        each = ", ".join(f"{row['accuracy']:.2f}" for row in found)
        steps = {row.get("steps") for row in found}
        print(f"{dataset} {method}: {np.mean([row['accuracy'] for row in found]):.2f} ({each}), steps {steps}")


@click.command()
@click.option("--dataset", "datasets", multiple=True)
@click.option("--data-root", type=click.Path(path_type=Path))
@click.option("--model", default="cnn", show_default=True)
@click.option(
    "--options", default='{"width": 32, "batch_norm": true}', show_default=True, help="Of the model, as JSON."
)
@click.option("--methods", default=",".join(("pixels", "untrained", *METHODS)), show_default=True)
@click.option("--train", default=10000, show_default=True)
@click.option("--labels", default=200, show_default=True)
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--batch-size", default=256, show_default=True)
@click.option("--max-lr", default=2e-3, show_default=True)
@click.option("--smallest-crop", default=0.2, show_default=True)
@click.option("--seeds", default="0-1", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="A line for each cell.")
@click.option("--table", "shown", type=click.Path(path_type=Path, exists=True), help="Only print what is there.")
@click.option("--speed", "timed", is_flag=True, help="Only time a step.")
def main(
    datasets: tuple[str, ...],
    data_root: Path | None,
    seeds: str,
    out: Path | None,
    shown: Path | None,
    timed: bool,
    methods: str,
    **options: Any,
) -> None:
    """Compare ways of learning features without labels."""
    if shown is not None:
        table(shown)
        return
    loaded = [load(name, root=data_root) for name in datasets]
    if timed:
        for data in loaded:
            speed(data, options)
        return
    if out is None:
        raise click.UsageError("expected --out, --table or --speed")
    lines = out.read_text().splitlines() if out.exists() else []
    done = {(row["dataset"], row["method"], row["seed"]) for row in map(json.loads, lines)}
    first, _, last = seeds.partition("-")
    for seed in range(int(first), int(last or first) + 1):
        for data in loaded:
            for method in methods.split(","):
                if (data.name, method, seed) in done:
                    continue
                row = cell(data, copy.deepcopy(options), method, seed)
                print(json.dumps(row), flush=True)
                with out.open("a") as file:
                    file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
