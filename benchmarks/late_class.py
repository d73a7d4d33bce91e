"""A class that appears late: how well is it known after k labels, when the network goes on and when it begins anew?

    python benchmarks/late_class.py npz:cifar10.npz --model linear
    python benchmarks/late_class.py mnist --data-root data --model cnn --late 1,5,10

The first network learns ten labels of each class but the last; then k labels of that one come, the network grows by an
output (`trainer.growth`) and is trained on with all labels, as a run does; beside it one begins anew.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import click
import numpy as np

from trainer.data import load
from trainer.growth import grow
from trainer.loop import fit
from trainer.models import build_model
from trainer.options import options_for
from trainer.predict import predict

EACH = 10
TEST = 1000


@click.command()
@click.argument("dataset")
@click.option("--data-root", type=click.Path(path_type=Path))
@click.option("--model", default="linear", show_default=True)
@click.option("--late", default="1,2,5,10", show_default=True, help="Labels of the late class.")
@click.option("--seeds", default=4, show_default=True)
def main(dataset: str, data_root: Path | None, model: str, late: str, seeds: int) -> None:
    """Train, grow, train on, and see what is right."""
    data = load(dataset, root=data_root)
    C, counts = data.num_classes, [int(k) for k in late.split(",")]
    x, truth = data.inputs("test", np.arange(min(TEST, len(data.test)))), data.test.labels[:TEST]
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}

    def measured(way: str, k: int, network: object) -> None:
        right = predict(network, x).argmax(1) == truth  # type: ignore[arg-type]
        found.setdefault((way, k), []).append((right[truth == C - 1].mean(), right[truth < C - 1].mean()))

    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(data.train))
        of = [order[data.train.labels[order] == c] for c in range(C)]
        first = np.concatenate([ids[:EACH] for ids in of[:-1]])
        before = build_model(model, data.input_shape, C - 1, seed=seed)
        fit(before, data.inputs("train", first), data.labels("train", first), C - 1, options_for(model), seed=seed)
        for k in counts:
            ids = np.concatenate([first, of[-1][:k]])
            for way in ("goes on", "begins anew"):
                network = build_model(model, data.input_shape, C, seed=seed)
                if way == "goes on":
                    grow(network, before.state_dict())
                fit(network, data.inputs("train", ids), data.labels("train", ids), C, options_for(model), seed=seed)
                measured(way, k, network)
    print(f"{dataset}, {model}, {seeds} seeds\n")
    print("| labels of it | goes on: it, % | others | begins anew: it, % | others |\n|---|---|---|---|---|")
    for k in counts:
        cells = [
            f"{100 * statistics.fmean(one):.1f}"
            for way in ("goes on", "begins anew")
            for one in zip(*found[way, k], strict=True)
        ]
        print(f"| {k} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
