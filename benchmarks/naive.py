"""A whole look-ahead query against naively retraining the network with every candidate.

    python benchmarks/naive.py --dataset mnist --data-root data --model cnn     # a few minutes on 2 cores
    python benchmarks/naive.py --small                                          # a smoke run; its ratios mean nothing

The query is everything between the trained network and the ranked candidates: the port to Flax with its verification,
the kernel, the scores.  A naive query trains, for every candidate, the network with the candidate and its likeliest
label among the labels, from the trained weights, and evaluates the pool; a sample of the candidates is really
retrained, their mean time is multiplied by the number of candidates.  Two kinds of retraining: as the loop trains a
cycle, to convergence, and the 15 epochs of SGD that the look-ahead paper grants its naive baseline.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from pipeline import seeds
from pipeline.config import load_config
from pipeline.pool import Labelled
from pipeline.stages.migrate import run_migrate
from pipeline.stages.score import read_scores, run_score
from pipeline.stages.train import WEIGHTS, run_train
from pipeline.workbench import Workbench, open_workbench
from trainer.checkpoint import load_weights
from trainer.loop import fit
from trainer.models import build
from trainer.options import TrainOptions
from trainer.predict import predict

PAPER_EPOCHS = 15
QUERIES = 3


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def query(bench: Workbench, labelled: Labelled, candidates: np.ndarray, trained: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        port, score = Path(folder, "port"), Path(folder, "score")
        port.mkdir()
        score.mkdir()
        run_migrate(bench, labelled, trained, port)
        run_score(bench, 0, labelled, candidates, trained, port, score)
        read_scores(score).select(bench.config.query.size)


def retrain(
    bench: Workbench, labelled: Labelled, candidates: np.ndarray, at: int, trained: Path, options: TrainOptions
) -> None:
    """The network with one candidate and its likeliest label more, and its outputs on the pool."""
    model = build(bench.spec)
    load_weights(model, trained / WEIGHTS)
    pool = bench.images(candidates)
    likeliest = predict(model, pool[at : at + 1], device=bench.device).argmax(1)
    ids, labels = np.append(labelled.ids, candidates[at]), np.append(labelled.labels, likeliest)
    fit(model, bench.images(ids), labels, bench.data.num_classes, options, seed=at, device=bench.device)
    predict(model, pool, device=bench.device)


@click.command()
@click.option("--dataset", default="digits", show_default=True)
@click.option("--data-root")
@click.option("--model", default="cnn", show_default=True)
@click.option("--set", "sets", multiple=True)
@click.option("--n-init", default=100, show_default=True)
@click.option("--subset-size", "subset", default=1500, show_default=True)
@click.option("--retrainings", default=10, show_default=True)
@click.option("--small", is_flag=True, help="A smoke run.")
def main(
    dataset: str, data_root: str | None, model: str, sets: tuple[str, ...], n_init: int, subset: int, retrainings: int,
    small: bool,
) -> None:  # fmt: skip
    """Time a query, and retrainings of a sample of its candidates, taking turns."""
    n_init, subset, retrainings = (20, 30, 2) if small else (n_init, subset, retrainings)
    fields = {"data.name": dataset, "data.root": data_root, "model.name": model, "cycles": 2}
    fields |= {"query.n_init": n_init, "query.subset": subset, "query.strategy": "mlmoc"}
    bench = open_workbench(load_config(options=fields, sets=sets))
    order = seeds.generator(0, 0, "subset").permutation(len(bench.data.train))
    labelled = Labelled(order[:n_init], bench.data.labels("train", order[:n_init]))
    candidates = order[n_init : n_init + subset]
    options = bench.config.train_options
    with tempfile.TemporaryDirectory() as folder:
        trained = Path(folder)
        run_train(bench, 0, labelled, None, trained)
        first = timed(lambda: query(bench, labelled, candidates, trained))
        whole: list[float] = []
        kinds = {
            "as the loop trains, to convergence": options,
            f"{PAPER_EPOCHS} epochs": replace(options, epochs=PAPER_EPOCHS, tolerance=0.0),
        }
        taken: dict[str, list[float]] = {kind: [] for kind in kinds}
        for at in range(retrainings):
            if at < QUERIES:
                whole.append(timed(lambda: query(bench, labelled, candidates, trained)))
            for kind, how in kinds.items():
                taken[kind].append(timed(lambda: retrain(bench, labelled, candidates, at, trained, how)))  # noqa: B023
    warm = statistics.median(whole)
    click.echo(
        f"{dataset}, {model}, {n_init} labels, {len(candidates)} candidates, {os.cpu_count()} cores; a look-ahead "
        f"query takes {warm:.2f} s ({first:.2f} s with compilation)\n"
    )
    click.echo("| naive: every candidate retrained | s a candidate (of so many) | s a query, extrapolated | ratio |")
    click.echo("|---|---|---|---|")
    for kind, times in taken.items():
        one = statistics.mean(times)
        naive = one * len(candidates)
        click.echo(f"| {kind} | {one:.3f} ({len(times)}) | {naive:.0f} | {naive / warm:.0f} |")


if __name__ == "__main__":
    main()
