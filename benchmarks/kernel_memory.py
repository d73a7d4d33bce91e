"""`kernel.py scaling` and `kernel.py memory`: kernels in processes of their own, whose memory is read from outside."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import jax
import numpy as np
from kernel_common import PATIENCE, ROUNDS, exponent, gemm_peak, header, images, port, precisions, relative, table

from common.memory import shown
from linearize.errors import MemoryBudgetError
from linearize.kernel import compute_ntk, plan_ntk
from linearize.options import KernelOptions
from linearize.types import Precision

SHARES = (1, 2, 4, 8, 16)
MAIN = Path(__file__).with_name("kernel.py")


def measured(network: str, n: int, precision: Precision = "float32", **more: Any) -> dict[str, Any]:
    """One kernel in a fresh process: `point`'s answer."""
    task = json.dumps({"network": network, "n": n, "precision": precision, **more})
    done = subprocess.run([sys.executable, str(MAIN), "point", task], capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{task} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def held() -> tuple[int, int]:
    """Bytes that are held now, and the most since `reset`: of the accelerator, or of this process."""
    stats = jax.local_devices()[0].memory_stats()
    if stats:
        return stats["bytes_in_use"], stats["peak_bytes_in_use"]
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(lines[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


def reset() -> int:
    """Let the process's high-water mark start again from what is held now; returns that."""
    Path("/proc/self/clear_refs").write_text("5")
    return held()[0]


@click.command(hidden=True)
@click.argument("text")
def point(text: str) -> None:
    """Plan and compute one kernel, and say as JSON what it took."""
    task = json.loads(text)
    net, x = port(task["network"]), images(task["n"])
    settings = KernelOptions(precision=task["precision"], memory_budget=task.get("budget"))
    reset()
    start = time.perf_counter()
    try:
        plan = plan_ntk(net.apply_fn, net.variables, x, options=settings)
    except MemoryBudgetError as error:
        click.echo(json.dumps({"refused": str(error)}))
        return
    compiling, planned = held()[1], time.perf_counter() - start
    process_estimate, before = plan.process_peak(), reset()
    taken: list[float] = []
    while not taken or (len(taken) < (1 if task.get("save") else 1 + ROUNDS) and taken[-1] < PATIENCE):
        start = time.perf_counter()
        theta = compute_ntk(plan, net.variables, x)
        taken.append(time.perf_counter() - start)
        if len(taken) == 1:
            peak = held()[1]
    if task.get("save"):
        np.save(task["save"], theta)
    answer = {
        "P": net.parameters,
        "plan_s": planned,
        "s": statistics.median(taken[1:] or taken),
        "budget": plan.budget,
        "passes": len(plan.work.chunks),
        "estimate": plan.estimate,
        "peak": max(peak - before, 4096),  # a page
        "process_estimate": process_estimate,
        "process_peak": max(peak, compiling),
        "gemm": 0 if task.get("save") else gemm_peak(task["precision"], small=task.get("small", False)).flops,
    }
    click.echo(json.dumps(answer))


def memory_cells(found: dict[str, Any]) -> tuple[str, ...]:
    return (
        shown(found["estimate"]),
        shown(found["peak"]),
        f"{found['peak'] / found['estimate']:.2f}",
        shown(found["process_peak"]),
        f"{found['process_peak'] / found['process_estimate']:.2f}",
    )


MEMORY = ("estimate", "measured", "measured / estimate", "process peak", "peak / process estimate")


def scaling_table(title: str, points: Sequence[tuple[str, int]], precision: Precision, small: bool, axis: str) -> None:
    """Seconds and memory of several kernels, and the exponents by which they grow along an axis."""
    found: list[dict[str, Any]] = []

    def rows() -> Iterator[tuple[Any, ...]]:
        for network, n in points:
            one = {"N": n, **measured(network, n, precision, small=small)}
            found.append(one)
            rate = n * (n + 1) * one["P"] / one["s"]
            took = f"{one['s']:.2f}", f"{one['plan_s']:.1f}", f"{rate / one['gemm']:.0%}", one["passes"]
            yield f"{n:,}", f"{one['P']:,}", *took, *memory_cells(one)

    click.echo(f"### {title}, {precision}\n")
    table(("N", "P", "s", "planning and compiling, s", "share of peak", "passes", *MEMORY), rows())
    if len(found) > 1:
        sizes = [one[axis] for one in found]
        powers = {key: exponent(sizes, [one[key] for one in found]) for key in ("s", "peak")}
        click.echo(f"Exponents in {axis}: seconds {powers['s']:.2f}, measured memory {powers['peak']:.2f}.\n")


@click.command()
@click.option("--small", is_flag=True, help="A smoke run; its ratios mean nothing.")
def scaling(small: bool) -> None:
    """Seconds, share of the matrix product's peak and memory over N and P."""
    header("Scaling")
    click.echo(
        "Share of peak: N (N + 1) P flops, those of half the dense product of the features, a second, against the"
    )
    click.echo(
        "best square matrix product of the same process.  Features, passes through the network and all included.\n"
    )
    counts = (8, 16) if small else (250, 500, 1000, 2000, 4000)
    widths = () if small else (6, 12, 24, 48, 64)
    for precision in precisions():
        network = "tiny" if small else "resnet18-16"
        scaling_table(f"Over N: {network}", [(network, n) for n in counts], precision, small, "N")
        if widths:
            points = [(f"resnet18-{width}", 500) for width in widths]
            scaling_table("Over P: resnet18 of growing width, 64 last", points, precision, small, "P")


@click.command()
@click.option("--network", "networks", multiple=True, default=["resnet18-16", "wrn-16-2", "mlp"], show_default=True)
@click.option("-n", "n", default=1000, help="Examples.", show_default=True)
@click.option("--small", is_flag=True, help="A smoke run; its ratios mean nothing.")
def memory(networks: tuple[str, ...], n: int, small: bool) -> None:
    """Estimated and measured peaks, and Θ, under smaller and smaller memory budgets."""
    header("Memory budgets")
    names = ("tiny",) if small else networks
    heads = ("network", "N", "budget", "passes", "s, first call", "Θ against the first row's", *MEMORY)
    table(heads, (row for name in names for row in budget_rows(name, 64 if small else n, (1, 2) if small else SHARES)))


def budget_rows(network: str, n: int, shares: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """One kernel under the default budget, and under shares of what that one was estimated to take."""
    with tempfile.TemporaryDirectory() as folder:
        first, path = Path(folder) / "first.npy", Path(folder) / "theta.npy"
        whole = measured(network, n, save=str(first))
        for share in shares:
            budget = whole["estimate"] // share
            found = whole if share == 1 else measured(network, n, budget=budget, save=str(path))
            if "refused" in found:
                yield network, n, f"{shown(budget)} (1/{share})", "refused", *[""] * (2 + len(MEMORY))
                continue
            apart = relative(np.load(first if share == 1 else path), np.load(first))
            label = "default" if share == 1 else f"{shown(budget)} (1/{share})"
            yield network, n, label, found["passes"], f"{found['s']:.2f}", f"{apart:.1e}", *memory_cells(found)
