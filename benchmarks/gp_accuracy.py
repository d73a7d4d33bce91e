"""Test accuracy of the Gaussian process with the infinite-width kernel, on the labelled sets that finished runs chose.

    python benchmarks/gp_accuracy.py runs/grid --strategies gp,random --out gp.csv
    python benchmarks/gp_accuracy.py runs/mnist-gp-seed0 runs/mnist-random-seed0 --test 2000

The look-ahead paper compares its strategy ``gp`` by the accuracy of that process, not of the network that the runs
also train (fig. 1b and thesis table 2.1).  Here the process is fitted to the labelled set of every finished cycle and
predicts a sample of the test images, the same for all runs.  Runs are only read.  Needs neural-tangents (README).
"""

from __future__ import annotations

import csv
import io
import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from scipy.linalg import cho_solve

from linearize import LinearizeError
from linearize.gp import RIDGE
from linearize.infinite import infinite_ntk
from linearize.linalg import cholesky
from linearize.posterior import absolute_ridge
from pipeline.config import DataSection, RunConfig
from pipeline.errors import PipelineError
from pipeline.files import write_atomically
from pipeline.infinite import twin_of
from pipeline.run.context import load_data
from pipeline.run.pool import Pool
from pipeline.run.rundir import check_unchanged, read_config, read_events
from pipeline.run.summary import area_under_curve, read_rows
from pipeline.sweep.grid import GRID
from trainer.data import DataSet
from trainer.targets import one_hot

COLUMNS = ("run", "strategy", "seed", "cycle", "n_labeled", "test_images", "gp_accuracy", "network_accuracy")
SAMPLE_SEED = 0


class Curve(NamedTuple):
    """One run: its accuracies by cycle, and the areas under both curves."""

    path: Path
    config: RunConfig
    labels: list[int]
    gp: list[float]
    network: list[float]
    gp_area: float
    network_area: float


@lru_cache(maxsize=1)
def data_of(section: DataSection) -> DataSet:
    return load_data(RunConfig(data=section))


def _predict(XX: np.ndarray, TX: np.ndarray, Y: np.ndarray, *, ridge: float = 0.0) -> np.ndarray:
    """Return the process' mean on other points, m(T) = Θ(T,X) K⁻¹ Y ``[T, C]``.

    Args:
        XX: Θ(X,X) ``[L, L]``.
        TX: Θ(T,X) ``[T, L]``.
        Y: one-hot targets ``[L, C]``.
        ridge: as of ``linearize.gp.fit_gp``.

    Raises:
        SingularKernelError: K cannot be factored.

    """
    F, _ = cholesky(XX + absolute_ridge(XX, max(ridge, RIDGE)) * np.eye(len(XX)))
    return np.asarray(TX @ cho_solve((F, True), np.asarray(Y, np.float64)))


def curve(path: Path, test: int) -> Curve:
    """Fit the process to the labelled set of every finished cycle of a run."""
    config, events, rows = read_config(path), read_events(path), read_rows(path)
    if not rows:
        raise PipelineError(f"{path}: expected a run with at least one finished cycle, got none")
    data = data_of(config.data)
    check_unchanged(events[0], config, data.fingerprint())
    pool = Pool(len(data.train), events)
    last = pool.labelled(rows[-1].cycle)
    sample = np.sort(np.random.default_rng(SAMPLE_SEED).permutation(len(data.test))[:test])
    X, T = data.inputs("train", last.ids), data.inputs("test", sample)
    twin = twin_of(config.model_spec(data.input_shape, data.num_classes))
    budget, ridge = config.kernel_options.memory_budget, config.kernel_options.ridge
    XX = infinite_ntk(twin, X, memory_budget=budget)
    TX = infinite_ntk(twin, T, X, memory_budget=budget)
    Y, truth = one_hot(last.labels, data.num_classes), data.labels("test", sample)
    accuracies = []
    for row in rows:
        L = len(pool.labelled(row.cycle))  # earlier labelled sets are the beginning of the last
        mean = _predict(XX[:L, :L], TX[:, :L], Y[:L], ridge=ridge)
        accuracies.append(float((mean.argmax(1) == truth).mean()))
    of_gp = [replace(row, test_accuracy=accuracy) for row, accuracy in zip(rows, accuracies, strict=True)]
    return Curve(
        path,
        config,
        [row.n_labelled for row in rows],
        accuracies,
        [row.test_accuracy for row in rows],
        area_under_curve(of_gp),
        area_under_curve(rows),
    )


def runs_of(paths: tuple[Path, ...], strategies: set[str]) -> list[Path]:
    """Runs as they are given, and those of grids, of some strategies where these are named."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.glob("*/config.yaml")) if (path / GRID).is_file() else [path / "config.yaml"]
        found += [file.parent for file in inside]
    chosen = [run for run in found if not strategies or read_config(run).query.strategy in strategies]
    if not chosen:
        raise PipelineError(f"expected runs of {', '.join(sorted(strategies)) or 'any strategy'}, found none")
    return chosen


def table(curves: list[Curve], test: int) -> str:
    """Every cycle of every run as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in curves:
        for cycle, (labels, gp, network) in enumerate(zip(one.labels, one.gp, one.network, strict=True)):
            about = (one.path.name, one.config.query.strategy, one.config.seed, cycle, labels)
            writer.writerow([*about, test, f"{gp:.6g}", f"{network:.6g}"])
    return text.getvalue()


@click.command()
@click.argument("paths", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--strategies", default="", help="Of grids and runs, only these, such as gp,random.  [all]")
@click.option("--test", default=2000, show_default=True, type=click.IntRange(min=1), help="Test images, at most.")
@click.option("--out", type=click.Path(path_type=Path), help="CSV to write, a line a cycle.")
def main(paths: tuple[Path, ...], strategies: str, test: int, out: Path | None) -> None:
    """Print the process' area under the accuracy curve and its final accuracy for every run, and by strategy."""
    curves, seconds = [], []
    try:
        for path in runs_of(paths, {name for name in strategies.split(",") if name}):
            start = time.perf_counter()
            curves.append(curve(path, test))
            seconds.append(time.perf_counter() - start)
    except (PipelineError, LinearizeError) as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(2) from error
    test = min(test, len(data_of(curves[-1].config.data).test))
    click.echo(f"{test} test images for the process; beside it the network of the same run, on all test images\n")
    click.echo(
        "| run | labels | area, process | area, network | final, process | final, network | s |\n" + "|---" * 7 + "|"
    )
    for one, taken in zip(curves, seconds, strict=True):
        areas = f"{one.gp_area:.4f} | {one.network_area:.4f} | {one.gp[-1]:.2%} | {one.network[-1]:.2%}"
        click.echo(f"| {one.path.name} | {one.labels[0]} to {one.labels[-1]} | {areas} | {taken:.1f} |")
    click.echo()
    for name in dict.fromkeys(one.config.query.strategy for one in curves):
        areas = np.array([one.gp_area for one in curves if one.config.query.strategy == name])
        spread = f", standard deviation {areas.std(ddof=1):.4f}" if len(areas) > 1 else ""
        click.echo(f"{name}: {len(areas)} runs, mean area of the process {areas.mean():.4f}{spread}")
    if out:
        write_atomically(out, table(curves, test))
        click.echo(f"wrote {out}")


if __name__ == "__main__":
    main()
