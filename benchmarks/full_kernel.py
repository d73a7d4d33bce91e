"""The full kernel beside sum-of-logits on a cycle of a run: seconds and memory of a query, and how far scores agree.

    pipeline run --dataset mnist --data-root data --n-init 100 --subset-size 300 --cycles 2 --out runs/full
    python benchmarks/full_kernel.py runs/full

Each kernel fits and scores in a process of its own, so that its peak memory is its own.  Seconds are CPU seconds of all
threads; compilation is in none of them: the first fit, and the first call of each criterion, are not counted.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from scipy.stats import spearmanr

from common.memory import MIB, resident_memory
from linearize import KernelOptions, LookAhead
from migrator import load
from pipeline.run.pool import Pool
from pipeline.run.recorded import open_recorded
from pipeline.run.rundir import cycle_path, read_config, read_events
from pipeline.run.stages.score import draw_candidates
from trainer.targets import one_hot

KERNELS = ("sum-of-logits", "full")
CRITERIA = ("mlmoc", "mlmoc-flips", "emoc", "eer")
ANSWERS = 5


def seconds_of(call: Callable[[], object], repeats: int = 3) -> float:
    """Return the median of CPU seconds, of all threads: what else the machine does matters little to them."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds[1:])


def peak_memory() -> int:
    """Return the most bytes that this process has held; ru_maxrss would start from its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def measure(port: str, arrays: str, head: str) -> dict[str, Any]:
    """Return seconds, scores and bytes of one kernel; run it in a process of its own."""
    with np.load(arrays) as read:
        data = [read[name] for name in ("X", "Y", "pool")]
    network, before = load(Path(port)), resident_memory()

    def fit() -> LookAhead:
        return LookAhead.fit(network.apply_fn, network.variables, *data, KernelOptions(head))

    service, seconds = fit(), {}
    plan, after_fit = service.plan, peak_memory() - before
    seconds["fit"] = seconds_of(fit, 1)
    scores = {name: service.scores(name) for name in CRITERIA}
    seconds |= {name: seconds_of(lambda name=name: service.scores(name)) for name in CRITERIA}
    service.observe(0, 0)  # not counted, as the first call of everything
    start = time.process_time()
    for position in range(1, 1 + ANSWERS):
        service.observe(position, 0)
    seconds["one answer"] = (time.process_time() - start) / ANSWERS
    figures = {"planned": plan.estimate, "peak of a fit": after_fit, "peak of all": peak_memory() - before}
    return {"seconds": seconds, "scores": scores, "bytes": figures}


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.option("--cycle", default=0, show_default=True, help="Of a run whose strategy looks ahead.")
@click.option("--trust-code", is_flag=True, help="Let a network run that is not built in.")
def main(run: Path, cycle: int, trust_code: bool) -> None:
    """Measure a cycle of RUN."""
    config, events = read_config(run), read_events(run)
    context = open_recorded(run, config, events, trust_code, click.echo)
    pool = Pool(len(context.data.train), events)
    labelled, candidates = pool.labelled(cycle), draw_candidates(config, pool, cycle)
    Y = one_hot(labelled.labels, context.data.num_classes)
    with tempfile.TemporaryDirectory() as folder:
        arrays = str(Path(folder, "arrays.npz"))
        np.savez(arrays, X=context.images(labelled.ids), Y=Y, pool=context.images(candidates))
        results = {}
        for head in KERNELS:
            with multiprocessing.get_context("spawn").Pool(1) as process:
                results[head] = process.apply(measure, (str(cycle_path(run, cycle) / "migrate"), arrays, head))
    small, full = (results[head] for head in KERNELS)
    click.echo(f"{len(Y)} labels, {len(candidates)} candidates, {Y.shape[1]} classes")
    click.echo(f"{'':<20}{KERNELS[0]:>14}{KERNELS[1]:>16}")
    for what, value in small["seconds"].items():
        click.echo(f"{what + ', CPU s':<20}{value:>14.4f}{full['seconds'][what]:>16.4f}")
    for what, value in small["bytes"].items():
        click.echo(f"{what + ', MiB':<20}{value / MIB:>14.0f}{full['bytes'][what] / MIB:>16.0f}")
    for name in CRITERIA:
        one, other = small["scores"][name], full["scores"][name]
        shared = len({*np.argsort(-one)[:20]} & {*np.argsort(-other)[:20]})
        click.echo(f"{name}: rank correlation {spearmanr(one, other).statistic:.3f}, {shared} of the 20 best shared")


if __name__ == "__main__":
    main()
