r"""A look-ahead query by the block update against the slower ways to foresee the same: figure 1a of the paper.

    python benchmarks/proxies.py time --dataset mnist --data-root data          # seconds of one query, 3 rounds
    pipeline compare --dataset mnist --data-root data --strategies random,naive,ntk-no-block,mlmoc --seeds 0-2 \
        --n-init 100 --query-size 20 --subset-size 1500 --cycles 4 --naive-candidates 50 --jobs 1 --out runs/figure-1a
    python benchmarks/proxies.py figure runs/figure-1a                          # accuracies beside seconds of a query
    python benchmarks/proxies.py time --small                                   # a smoke run; its ratios mean nothing

A query is everything between the trained network and the ranked candidates: for the block update and without it, the
port to Flax with its verification, the kernel and the scores.  Naive queries train, for every candidate, the network
with the candidate and its likeliest label among the labels, from the trained weights, and evaluate the pool; some of
the candidates are really retrained with, their mean time is multiplied by the number of candidates, and called
extrapolated.
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

from linearize import CRITERIA, Kernel, LookAhead, Measure
from linearize.direct_solve import scores_by_direct_solve
from linearize.posterior import Dense, Targets
from pipeline import seeds
from pipeline.config import load_config
from pipeline.queries import QueryState, get_strategy
from pipeline.report.statistics import student_t
from pipeline.retraining import NAIVE_EPOCHS
from pipeline.run.context import RunContext, open_context
from pipeline.run.pool import Labelled
from pipeline.run.rundir import cycle_path, read_events
from pipeline.run.stages.diagnostics import read_diagnostics
from pipeline.run.stages.migrate import run_migrate
from pipeline.run.stages.score import query_state
from pipeline.run.stages.train import run_train
from pipeline.run.summary import area_under_curve, read_rows
from pipeline.sweep.grid import read_grid

BLOCK, AFRESH = "block update", "solved afresh"


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class Cycle:
    """A trained network that can be queried in every way."""

    def __init__(self, context: RunContext, n_init: int, trained: Path) -> None:
        order = seeds.generator(0, 0, "subset").permutation(len(context.data.train))
        self.context, self.trained = context, trained
        self.labelled = Labelled(order[:n_init], context.data.labels("train", order[:n_init]))
        self.candidates = order[n_init : n_init + context.config.query.subset]
        run_train(context, 0, self.labelled, None, trained)

    def query(self, strategy: str) -> QueryState:
        """Answer one whole query, from the weights on disk to the ranking."""
        chosen = get_strategy(strategy)
        with tempfile.TemporaryDirectory() as folder:
            if chosen.needs_port:
                run_migrate(self.context, self.labelled, self.trained, Path(folder))
            port = Path(folder) if chosen.needs_port else None
            state = query_state(self._of(strategy), 0, self.labelled, self.candidates, self.trained, port)
            chosen.query(state, self.context.config.query.size)
        return state

    def _of(self, strategy: str) -> RunContext:
        config = self.context.config
        query = config.query.model_copy(update={"strategy": strategy})
        return replace(self.context, config=config.model_copy(update={"query": query}))


class Scoring:
    """What is left of a query once the kernel is known: from Θ's blocks to the scores."""

    def __init__(self, service: LookAhead) -> None:
        self.posterior, self.loss = service.posterior, service.loss
        assert isinstance(self.posterior, Dense)
        labelled, f_U = self.posterior.labelled, self.posterior.f
        F, Phi, self.lam = labelled.F, labelled.Phi, labelled.lam
        XX = F @ F.T - self.lam * np.eye(len(F))
        self.kernel = Kernel(XX, F @ Phi, self.posterior.S + Phi.T @ Phi)
        self.targets = Targets(labelled.Y - F @ labelled.z, f_U, labelled.Y)

    def block(self) -> np.ndarray:
        """Factor once, update for every candidate."""
        posterior = Dense.init(self.kernel, self.targets, ridge=self.lam)
        return CRITERIA["mlmoc"].scores(posterior, self.loss, Measure("network"))

    def afresh(self) -> np.ndarray:
        """Factor for every candidate."""
        return scores_by_direct_solve(self.posterior, self.loss)


def measure(cycle: Cycle, rounds: int, retrainings: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Take turns; return the seconds of whole queries and of scoring alone, and those of one naive candidate."""
    scoring, state = (
        Scoring(cycle.query("mlmoc").look_ahead),
        cycle.query("one-step"),
    )  # compiles what is to be compiled
    np.testing.assert_allclose(scoring.block(), scoring.afresh(), rtol=1e-4)
    whole: dict[str, list[float]] = {"mlmoc": [], "ntk-no-block": [], "one-step": [], BLOCK: [], AFRESH: []}
    naive: dict[str, list[float]] = {f"naive, {NAIVE_EPOCHS} epochs": [], "naive, to convergence": []}
    for at in range(max(rounds, retrainings)):
        if at < rounds:
            for name in ("mlmoc", "ntk-no-block", "one-step"):
                whole[name].append(timed(lambda: cycle.query(name)))  # noqa: B023
            whole[BLOCK].append(timed(scoring.block))
            whole[AFRESH].append(timed(scoring.afresh))
        if at < retrainings:
            x, label = state.inputs(state.candidates[at : at + 1]), int(state.outputs[at].argmax())
            for name, epochs in zip(naive, (NAIVE_EPOCHS, None), strict=True):
                naive[name].append(state.retrainer(at, x, label, epochs=epochs).seconds)
    return whole, naive


@click.group()
def main() -> None:
    """Compare the block update with the papers' slower proxies."""


@main.command("time")
@click.option("--dataset", default="digits", show_default=True)
@click.option("--data-root")
@click.option("--model", default="cnn", show_default=True)
@click.option("--set", "sets", multiple=True)
@click.option("--n-init", default=100, show_default=True)
@click.option("--subset-size", "subset", default=1500, show_default=True)
@click.option("--retrainings", default=10, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--small", is_flag=True, help="A smoke run.")
def time_(
    dataset: str, data_root: str | None, model: str, sets: tuple[str, ...], n_init: int, subset: int, retrainings: int,
    rounds: int, small: bool,
) -> None:  # fmt: skip
    """Time whole queries, scoring alone, and retrainings with some of the candidates, taking turns."""
    n_init, subset, retrainings, rounds = (20, 30, 2, 1) if small else (n_init, subset, retrainings, rounds)
    fields = {"data.name": dataset, "data.root": data_root, "model.name": model, "cycles": 2}
    fields |= {"query.n_init": n_init, "query.subset": subset, "query.strategy": "mlmoc"}
    context = open_context(load_config(options=fields, sets=sets))
    with tempfile.TemporaryDirectory() as folder:
        cycle = Cycle(context, n_init, Path(folder))
        whole, naive = measure(cycle, rounds, retrainings)
    U, seconds = len(cycle.candidates), {name: statistics.median(times) for name, times in whole.items()}
    click.echo(f"{dataset}, {model}, {n_init} labels, {U} candidates, {os.cpu_count()} cores; medians of {rounds}\n")
    click.echo("| query by | s a query | of mlmoc |\n|---|---|---|")
    for name in ("mlmoc", "ntk-no-block", "one-step"):
        click.echo(f"| {name} | {seconds[name]:.2f} | {seconds[name] / seconds['mlmoc']:.1f} |")
    for name, times in naive.items():
        one = statistics.mean(times)
        text = f"{one * U:.0f}, extrapolated from {len(times)} of {one:.3f} s"
        click.echo(f"| {name} | {text} | {one * U / seconds['mlmoc']:.0f} |")
    click.echo("\n| from the kernel to the scores | s | of the block update |\n|---|---|---|")
    for name in (BLOCK, AFRESH):
        click.echo(f"| {name} | {seconds[name]:.4f} | {seconds[name] / seconds[BLOCK]:.1f} |")


def finished(run: Path) -> bool:
    """Tell whether a cell can be read as a whole."""
    return (run / "events.jsonl").is_file() and any(event["event"] == "finished" for event in read_events(run))


def query_seconds(run: Path, row_seconds: dict[str, float], cycle: int) -> float:
    """Return what a cycle's query took; of a naive one, what trying every candidate would have taken."""
    taken = row_seconds.get("migrate", 0.0) + row_seconds["score"]
    figures = read_diagnostics(cycle_path(run, cycle) / "score")
    if "naive_seconds_extrapolated" in figures:
        tried = figures["naive_candidates"] * figures["naive_seconds_per_candidate"]
        taken += float(figures["naive_seconds_extrapolated"]) - tried
    return float(taken)


@main.command()
@click.argument("grid", type=click.Path(path_type=Path))
def figure(grid: Path) -> None:
    """Print accuracies beside the seconds of a query, from a finished comparison (figure 1a)."""
    cells = [cell for cell in read_grid(grid).cells() if finished(grid / cell.name)]
    rows = {cell.name: read_rows(grid / cell.name) for cell in cells}
    known = {
        strategy: [
            query_seconds(grid / cell.name, row.seconds, row.cycle)
            for cell in cells
            if cell.strategy == strategy
            for row in rows[cell.name][:-1]
        ]
        for strategy in dict.fromkeys(cell.strategy for cell in cells)
    }
    ours = statistics.median(known["mlmoc"]) if "mlmoc" in known else float("nan")
    click.echo("| strategy | final accuracy, 95 % | area under the curve, 95 % | s a query | of mlmoc |")
    click.echo("|---|---|---|---|---|")
    for strategy, seconds in known.items():
        mine = [rows[cell.name] for cell in cells if cell.strategy == strategy]
        bands = student_t([run[-1].test_accuracy for run in mine]), student_t([area_under_curve(run) for run in mine])
        spelled = " | ".join(f"{mean:.4f}" + (f" ± {half:.4f}" if half is not None else "") for mean, half, _ in bands)
        one = statistics.median(seconds)
        mark = ", extrapolated" if strategy == "naive" else ""
        click.echo(f"| {strategy} | {spelled} | {one:.2f}{mark} | {one / ours:.1f} |")


if __name__ == "__main__":
    main()
