"""Strategies against one another on real MNIST: runs `pipeline run` for every strategy and seed and prints a table.

    python benchmarks/mnist_strategies.py --data-root data --model cnn --seeds 0-5 --jobs 2 --out runs/mnist-cnn

Finished cells are kept: the command can be stopped and given again.  Each job computes on one thread.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
from scipy import stats

from pipeline.cli import RUN_OPTIONS
from pipeline.config import differences, load_config
from pipeline.report import area_under_curve, read_rows
from pipeline.rundir import read_config, read_events

PROTOCOL = ["--dataset", "mnist", "--n-init", "100", "--query-size", "20", "--subset-size", "1500", "--cycles", "8"]


def run_cell(out: Path, arguments: Sequence[str], threads: int) -> None:
    if (out / "events.jsonl").is_file():
        refuse_another_experiment(out, arguments)
        if any(event["event"] == "finished" for event in read_events(out)):
            return
    command = [sys.executable, "-c", "from pipeline.cli import main; main()"]
    command += ["resume", str(out)] if (out / "config.yaml").is_file() else ["run", *arguments, "--out", str(out)]
    eigen = "" if threads > 1 else "--xla_cpu_multi_thread_eigen=false"
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "XLA_FLAGS": eigen}
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{out} failed:\n{done.stderr}")
    print(f"{out} {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


def refuse_another_experiment(out: Path, arguments: Sequence[str]) -> None:
    """A cell that is already there must be the one that was asked for."""
    options, sets = {}, []
    for flag, value in zip(arguments[::2], arguments[1::2], strict=True):
        if flag == "--set":
            sets.append(value)
        else:
            path, kind = next((path, kind) for name, path, kind, _ in RUN_OPTIONS if name == flag)
            options[path] = kind(value)
    changed = differences(read_config(out).scientific(), load_config(options=options, sets=sets).scientific())
    if changed:
        raise SystemExit(f"{out} holds another experiment ({'; '.join(changed)}): name another --out")


def band(values: np.ndarray) -> float:
    """Half width of the Student-t 95 % interval of the mean."""
    return float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))


@click.command()
@click.option("--data-root", required=True)
@click.option("--model", default="cnn")
@click.option("--set", "sets", multiple=True)
@click.option("--strategies", default="random,entropy,mlmoc,mlmoc-flips", help="The first is what gains are over.")
@click.option("--seeds", default="0-5", help="First and last.")
@click.option("--jobs", default=2)
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(data_root: str, model: str, sets: tuple[str, ...], strategies: str, seeds: str, jobs: int, out: Path) -> None:
    first, last = map(int, seeds.split("-"))
    names, numbers = strategies.split(","), range(first, last + 1)
    common = [*PROTOCOL, "--data-root", data_root, "--model", model]
    common += [argument for setting in sets for argument in ("--set", setting)]
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ThreadPoolExecutor(jobs) as pool:
        cells = [
            pool.submit(run_cell, out / f"{name}-{seed}", [*common, "--strategy", name, "--seed", str(seed)], threads)
            for seed in numbers
            for name in names
        ]
        for cell in cells:
            cell.result()
    rows = {name: [read_rows(out / f"{name}-{seed}") for seed in numbers] for name in names}
    area = {name: 100 * np.array([area_under_curve(run) for run in runs]) for name, runs in rows.items()}
    base = names[0]
    gains = f"AUBC - {base} | seeds above {base} | p (Wilcoxon, uncorrected)"
    print(f"| strategy | AUBC % | final % | {gains} | train s | migrate s | score s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, runs in rows.items():
        final = 100 * np.array([run[-1].test_accuracy for run in runs])
        gain = area[name] - area[names[0]]
        p = f"{stats.wilcoxon(gain).pvalue:.3f}" if name != names[0] and len(gain) > 1 else ""
        seconds = [
            f"{np.mean([sum(row.seconds.get(stage, 0.0) for row in run) for run in runs]):.0f}"
            for stage in ("train", "migrate", "score")
        ]
        print(
            f"| {name} | {area[name].mean():.2f} ± {band(area[name]):.2f} | {final.mean():.2f} ± {band(final):.2f} | "
            f"{gain.mean():+.2f} ± {band(gain):.2f} | {(gain > 0).sum()} of {len(gain)} | {p} | {' | '.join(seconds)} |"
        )
    print("\nAUBC % of each seed: " + "; ".join(f"{n} {', '.join(f'{a:.2f}' for a in area[n])}" for n in names))


if __name__ == "__main__":
    main()
