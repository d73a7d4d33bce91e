"""What a query costs with every strategy: seconds and memory beside those of a trained network and its kernel.

    python benchmarks/selection_cost.py --dataset mnist --data-root data      # 1,000, 5,000 and 20,000 candidates
    python benchmarks/selection_cost.py --small                               # a smoke run of seconds

One network (`cnn` with dropout, trained by the learner of loss prediction, so that every strategy can use it) is
trained on 100 labels and ported once for each number of candidates U.  What several strategies read is computed first
and has lines of its own: outputs, features and the kernel over labelled ∪ candidates.  Then each strategy chooses 20,
three times; the line says the median time and the most memory that came on top of what was there before.  Strategies
that are trained with or on for every candidate (`naive`, `one-step`, `ntk-no-block`) and those of infinite width are
in `benchmarks/proxies.py`.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import psutil

from pipeline import seeds
from pipeline.config import load_config
from pipeline.queries import STRATEGIES, LookAheadOptions, QueryState
from pipeline.run.context import RunContext, open_context
from pipeline.run.pool import Labelled
from pipeline.run.stages.migrate import run_migrate
from pipeline.run.stages.score import query_state
from pipeline.run.stages.train import run_train

LABELS, QUERY, ROUNDS, MIB = 100, 20, 3, 2**20
ELSEWHERE = ("naive", "one-step", "ntk-no-block", "infinite", "gp")
SEQUENTIAL = "margin-influence-sequential"


class Watch:
    """Seconds of a call, and the most memory of this process beyond what it had before."""

    def __init__(self, call: Callable[[], object]) -> None:
        process, self._done = psutil.Process(), threading.Event()
        self._most = before = process.memory_info().rss
        watcher = threading.Thread(target=self._look, args=(process,))
        watcher.start()
        started = time.perf_counter()
        try:
            call()
        finally:
            self.seconds = time.perf_counter() - started
            self._done.set()
            watcher.join()
        self.mib = (self._most - before) / MIB

    def _look(self, process: psutil.Process) -> None:
        while not self._done.wait(0.005):
            self._most = max(self._most, process.memory_info().rss)


def opened(dataset: str, root: str | None, subset: int) -> RunContext:
    """Return the run that all strategies are asked in."""
    options: dict[str, Any] = {
        "data.name": dataset,
        "data.root": root,
        "model.name": "cnn",
        "model.options": {"dropout": 0.25},
        "train.learner": "loss-prediction",
        "query.strategy": "random",
        "query.n_init": LABELS,
        "query.size": QUERY,
        "query.subset": subset,
        "cycles": 2,
    }
    return open_context(load_config(options={name: value for name, value in options.items() if value is not None}))


def state_of(context: RunContext, subset: int, folder: Path) -> QueryState:
    """Train and port a network, and return what it says of its candidates."""
    drawn = np.random.default_rng(0).permutation(len(context.data.train))[: LABELS + subset]
    labelled = Labelled(drawn[:LABELS], context.data.labels("train", drawn[:LABELS]))
    trained, port = folder / "train", folder / "migrate"
    for path in (trained, port):
        path.mkdir()
    run_train(context, 0, labelled, None, trained)
    run_migrate(context, labelled, trained, port)
    return query_state(context, 0, labelled, np.sort(drawn[LABELS:]), trained, port, covariance="required")


def ask(state: QueryState, name: str) -> None:
    """Choose a query as a run would, at the beginning of the state's random stream."""
    sequential = name == SEQUENTIAL
    strategy = STRATEGIES[name.removesuffix("-sequential")]
    fresh = replace(
        state, rng=seeds.generator(0, 0, "query"), options=LookAheadOptions("sequential" if sequential else "top")
    )
    for known in ("outputs", "features", "labelled_features"):
        fresh.__dict__[known] = getattr(state, known)
    fresh.__dict__["look_ahead"] = state.look_ahead.fork()
    if sequential:
        query = strategy.sequential_query(fresh)
        for _ in range(QUERY):
            [sample] = query.choose(1).ids
            query.observe(int(sample), 0)
    else:
        strategy.query(fresh, QUERY)


@click.command()
@click.option("--dataset", default="mnist", show_default=True)
@click.option("--data-root")
@click.option("--subset-size", "subsets", type=int, multiple=True, help="Candidates; several.  [1000 5000 20000]")
@click.option("--small", is_flag=True, help="The digits, 200 candidates, once.")
def main(dataset: str, data_root: str | None, subsets: tuple[int, ...], small: bool) -> None:
    """Print a table of seconds and memory for each number of candidates."""
    dataset, subsets = ("digits", (200,)) if small else (dataset, subsets or (1000, 5000, 20000))
    names = [name for name in (*STRATEGIES, SEQUENTIAL) if name not in ELSEWHERE]
    for subset in subsets:
        with tempfile.TemporaryDirectory() as folder:
            state = state_of(opened(dataset, data_root, subset), subset, Path(folder))
            click.echo(f"\n{subset:,} candidates of {dataset}, {LABELS} labels, a query of {QUERY}\n")
            table(state, names, 1 if small else ROUNDS)


def table(state: QueryState, names: list[str], rounds: int) -> None:
    """Print what is computed once, and every strategy's query."""
    click.echo("| what | s | MiB |\n|---|---|---|")
    for shared in ("outputs", "features", "labelled_features", "look_ahead"):
        watch = Watch(partial(getattr, state, shared))
        click.echo(f"| ({shared.replace('_', ' ')}) | {watch.seconds:.3f} | {watch.mib:.0f} |")
    for name in names:
        watches = [Watch(partial(ask, state, name)) for _ in range(rounds)]
        seconds = statistics.median(watch.seconds for watch in watches)
        click.echo(f"| `{name}` | {seconds:.3f} | {max(watch.mib for watch in watches):.0f} |")


if __name__ == "__main__":
    main()
