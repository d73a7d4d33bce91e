"""LL4AL and the learning rate: at which rates training beside a loss-prediction module works, and what it brings.

    python benchmarks/ll4al.py measure --dataset digits --model resnet18 --option width=8 --out ll4al.csv
    python benchmarks/ll4al.py measure --dataset cifar10 --data-root data --model resnet18 --option width=8 \
        --n-init 200 --query-size 100 --subset-size 1000 --epochs 40 --out ll4al-cifar10.csv
    python benchmarks/ll4al.py table ll4al.csv
    python benchmarks/ll4al.py measure --epochs 2 --rates 0.1 --losses l2 --seeds 0 --out x.csv       # a smoke run

As figure 5a of the look-ahead paper's appendix (Mohamadi, Bae & Sutherland 2022) with one rate for all cycles and
without restarts, and 5b: l2 against cross-entropy.  At every rate three runs of a seed are compared, from the same
initial weights, labels and candidates: random queries; random queries of networks trained by the same learner as
ll4al's, which shows what the module does to training; and ll4al.  A run whose training diverges counts as such.

Beside l2, the mean over C = 10 classes, the ranking loss has the weight λ/C; ``--weights 1,10`` tries an undivided one
too.

``measure`` goes on where it was: rows that the file holds already are not measured again.
"""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from pipeline.config import RunConfig, load_config
from pipeline.errors import RunFailedError
from pipeline.parsing import parse_yaml
from pipeline.progress import StageProgress, silent
from pipeline.run.context import open_context
from pipeline.run.loop import ActiveLearningLoop
from pipeline.run.rundir import RunDirectory, create_run
from pipeline.run.summary import CycleRow
from pipeline.sweep.grid import parse_seeds
from trainer.learners import loss_prediction

FIELDS = ("loss", "max_lr", "weight", "strategy", "learner", "seed", "cycles", "accuracy", "train_accuracy", "seconds")
WAYS = (("random", "supervised"), ("random", "loss-prediction"), ("ll4al", "loss-prediction"))
"""Who asks, and what networks are trained by."""


class Key(NamedTuple):
    """What one run is of."""

    loss: str
    max_lr: float
    weight: float
    strategy: str
    learner: str
    seed: int


class Rows:
    """The reporter of a run, which keeps what its cycles achieved."""

    def __init__(self) -> None:
        self.rows: list[CycleRow] = []

    def stage(self, cycle: int, name: str) -> StageProgress:
        """Begin a stage."""
        return silent

    def row(self, row: CycleRow) -> None:
        """Keep a cycle."""
        self.rows.append(row)

    def warn(self, message: str) -> None:
        """Say nothing."""


def numbers(_: click.Context, __: click.Parameter, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"expected numbers such as 1,0.1, got {text!r}") from error


def keys(losses: str, rates: tuple[float, ...], weights: tuple[float, ...], seeds: str) -> Iterator[Key]:
    """Yield every run, seed by seed; the weight of the ranking loss is told of those alone that have one."""
    for seed, loss, rate in product(parse_seeds(seeds), losses.split(","), rates):
        for strategy, learner in WAYS:
            for weight in weights if learner == loss_prediction.LearnedLoss.name else (0.0,):
                yield Key(loss, rate, weight, strategy, learner, seed)


def run(config: RunConfig, weight: float) -> tuple[list[CycleRow], bool]:
    """Run a configuration in a temporary directory; return its cycles, and whether it came to its end."""
    before, loss_prediction.WEIGHT = loss_prediction.WEIGHT, weight
    reporter = Rows()
    try:
        with tempfile.TemporaryDirectory(prefix="ll4al-") as folder:
            path = Path(folder) / "run"
            create_run(path, config)
            with RunDirectory(path, reporter.warn) as opened:
                ActiveLearningLoop(opened, open_context(config), reporter)()
    except RunFailedError as error:
        if "diverged" not in str(error) and "finite" not in str(error):
            raise
        return reporter.rows, False
    finally:
        loss_prediction.WEIGHT = before
    return reporter.rows, True


def row_of(key: Key, base: dict[str, Any]) -> dict[str, Any]:
    config = load_config(
        options={
            **base,
            "train.loss": key.loss,
            "train.max_lr": key.max_lr,
            "train.learner": key.learner,
            "query.strategy": key.strategy,
            "seed": key.seed,
        }
    )
    started = time.perf_counter()
    rows, finished = run(config, key.weight)
    last = rows[-1] if finished else None
    return {
        **key._asdict(),
        "cycles": len(rows),
        "accuracy": "" if last is None else last.test_accuracy,
        "train_accuracy": "" if last is None else last.train_accuracy,
        "seconds": round(time.perf_counter() - started, 1),
    }


def read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def key_of(row: dict[str, str]) -> Key:
    rate, weight = float(row["max_lr"]), float(row["weight"])
    return Key(row["loss"], rate, weight, row["strategy"], row["learner"], int(row["seed"]))


@click.group()
def main() -> None:
    """LL4AL at several learning rates, against random queries."""


@main.command()
@click.option("--dataset", default="digits", show_default=True)
@click.option("--data-root", type=click.Path(path_type=Path))
@click.option("--model", default="resnet18", show_default=True)
@click.option("--option", "options", multiple=True, default=("width=8",), show_default=True, help="KEY=VALUE.")
@click.option("--rates", callback=numbers, default="1,0.3,0.1,0.03,0.01", show_default=True)
@click.option("--losses", default="l2,cross-entropy", show_default=True)
@click.option("--weights", callback=numbers, default="1", show_default=True, help="Of the ranking loss.")
@click.option("--seeds", default="0-2", show_default=True)
@click.option("--n-init", default=50, show_default=True)
@click.option("--query-size", default=50, show_default=True)
@click.option("--subset-size", default=500, show_default=True)
@click.option("--cycles", default=3, show_default=True)
@click.option("--epochs", default=40, show_default=True)
@click.option("--set", "sets", multiple=True, metavar="A.B=C", help="Any other field of the runs.")
@click.option("--minutes", type=float, help="Begin no run after so long.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The .csv file to write or to go on with.")
def measure(
    dataset: str,
    data_root: Path | None,
    model: str,
    options: tuple[str, ...],
    rates: tuple[float, ...],
    losses: str,
    weights: tuple[float, ...],
    seeds: str,
    n_init: int,
    query_size: int,
    subset_size: int,
    cycles: int,
    epochs: int,
    sets: tuple[str, ...],
    minutes: float | None,
    out: Path,
) -> None:
    """Run every combination that the file does not hold, and add what came out."""
    network = {name: parse_yaml(value, name) for name, _, value in (option.partition("=") for option in options)}
    base = {
        "data.name": dataset,
        "data.root": None if data_root is None else str(data_root),
        "model.name": model,
        "model.options": network,
        "query.n_init": n_init,
        "query.size": query_size,
        "query.subset": subset_size,
        "cycles": cycles,
        "train.epochs": epochs,
        "train.restarts": 0,
        "train.tolerance": 0.0,
        **{name: parse_yaml(value, name) for name, _, value in (setting.partition("=") for setting in sets)},
    }
    done, started = {key_of(row) for row in read(out)}, time.perf_counter()
    for key in keys(losses, rates, weights, seeds):
        if key in done:
            continue
        if minutes is not None and time.perf_counter() - started > 60 * minutes:
            click.echo("time is up: the same command goes on")
            return
        row = row_of(key, base)
        new = not out.is_file()
        with out.open("a", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            if new:
                writer.writeheader()
            writer.writerow(row)
        click.echo(", ".join(f"{name} {row[name]}" for name in FIELDS))


@main.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True))
def table(file: Path) -> None:
    """Print the last networks' mean test accuracies, %, and how far ll4al is from random at the same rate and seeds."""
    cells = {key_of(row): row for row in read(file)}
    asked = [key for key in cells if key.strategy == "ll4al"]
    groups = sorted({(key.loss != "l2", -key.weight, -key.max_lr, key.loss) for key in asked})
    click.echo(
        "| loss | max_lr | random | random, loss-prediction | ll4al | ll4al - random |\n|---|---|---|---|---|---|"
    )
    for _, weight, rate, loss in groups:
        ours = [key for key in asked if (key.loss, -key.weight, -key.max_lr) == (loss, weight, rate)]
        plain = [cells.get(key._replace(strategy="random", learner="supervised", weight=0.0)) for key in ours]
        taught = [cells.get(key._replace(strategy="random")) for key in ours]
        chosen: list[dict[str, str] | None] = [cells[key] for key in ours]
        both = [
            100 * (float(b["accuracy"]) - float(a["accuracy"]))
            for a, b in zip(plain, chosen, strict=True)
            if a and b and a["accuracy"] and b["accuracy"]
        ]
        said = loss if weight == -1 else f"{loss}, λ = {-weight:g}"
        columns = " | ".join(shown(rows) for rows in (plain, taught, chosen))
        click.echo(f"| {said} | {-rate:g} | {columns} | {spread(both, '+')} |")


def shown(rows: list[dict[str, str] | None]) -> str:
    """Mean and standard deviation of accuracies in %, and how many runs diverged."""
    there = [row for row in rows if row is not None]
    values = [100 * float(row["accuracy"]) for row in there if row["accuracy"]]
    lost = len(there) - len(values)
    diverged = f"{lost} of {len(there)} diverged"
    return diverged if lost and not values else f"{spread(values)}{f' ({diverged})' * bool(lost)}"


def spread(values: list[float], sign: str = "") -> str:
    if not values:
        return "–"
    deviation = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):{sign}.2f}{deviation}"


if __name__ == "__main__":
    main()
