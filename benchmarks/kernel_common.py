"""What the sub-commands of `kernel.py` share: networks, timing, the machine's peak, tables."""

from __future__ import annotations

import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import click
import jax
import jax.numpy as jnp
import numpy as np
import torch

from linearize.engine.execute import arithmetic, compiled
from linearize.engine.tape import record
from linearize.types import Precision
from migrator import migrate
from trainer.models import ModelSpec, build

SEED = 0
SHAPE, CLASSES = (3, 32, 32), 10
PATIENCE = 10.0
"""A warm call that takes longer than this many seconds is not repeated."""
ROUNDS = 5
WRN = {"block_groups": 3, "blocks_per_group": 2, "max_width": 128, "stem_width": 16, "stem_stride": 1}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet18-16": ("resnet18", {"width": 16}),
    "wrn-16-2": ("wide_resnet", WRN),
    "mlp": ("mlp", {"depth": 3, "width": 256}),
    "tiny": ("mlp", {"depth": 2, "width": 8}),
    **{f"resnet18-{width}": ("resnet18", {"width": width}) for width in (6, 12, 24, 48, 64)},
}
PACKAGES = ("jax", "jaxlib", "numpy", "torch", "neural-tangents")


class Port(NamedTuple):
    """A network as the engine takes it."""

    name: str
    apply_fn: Callable[..., Any]
    variables: dict[str, Any]
    module: torch.nn.Module

    @property
    def parameters(self) -> int:
        """P."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.variables["params"]))

    def __str__(self) -> str:
        return f"{self.name} (P = {self.parameters:,})"


@cache
def port(name: str) -> Port:
    family, options = NETWORKS[name]
    module = build(ModelSpec(family, SHAPE, CLASSES, options), seed=SEED)
    made = migrate(module, torch.from_numpy(images(2)))
    return Port(name, made.apply_fn, dict(made.variables), module)


def images(n: int) -> np.ndarray:
    return np.random.default_rng(SEED).standard_normal((n, *SHAPE)).astype(np.float32)


def precisions() -> list[Precision]:
    """float32, and beside it TF32 where there is an accelerator."""
    return ["float32"] if jax.default_backend() == "cpu" else ["float32", "tensorfloat32"]


def header(title: str) -> None:
    """Say on which machine, when and with which versions."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    installed = [f"{name} {_version(name)}" for name in PACKAGES]
    click.echo(f"\n## {title}\n")
    click.echo(
        f"{usable} cores of {names[0] if names else platform.machine()}, load {os.getloadavg()[0]:.1f}; "
        f"JAX on {jax.device_count()} {jax.devices()[0].device_kind}; {datetime.now():%Y-%m-%d}; "
        f"Python {platform.python_version()}, {', '.join(installed)}.\n"
    )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    click.echo(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        click.echo(f"| {' | '.join(str(cell) for cell in row)} |")
    click.echo("")


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


class Times(NamedTuple):
    """Seconds of the first call, and of the later ones."""

    first: float
    later: list[float]

    @property
    def warm(self) -> float:
        """The median of the later calls."""
        return statistics.median(self.later)

    def over(self, base: Times) -> float:
        """The median over the rounds of the ratio within each."""
        return statistics.median(a / b for a, b in zip(self.later, base.later, strict=False))


def in_turns(calls: dict[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, Times]:
    """Time calls in turns, in another order every round; one that takes long is not repeated."""
    times = {name: Times(seconds(call), []) for name, call in calls.items()}
    rng = random.Random(SEED)
    for _ in range(rounds):
        for name in rng.sample(list(calls), len(calls)):  # what follows a large call finds cold caches
            if not times[name].later or times[name].later[0] < PATIENCE:
                times[name].later.append(seconds(calls[name]))
    return times


def forget() -> None:
    """Drop everything that was compiled, so that a first call is one."""
    record.cache_clear()
    compiled.cache_clear()
    jax.clear_caches()


def relative(found: Any, truth: Any) -> float:
    """Largest difference, relative to the largest entry."""
    a, b = np.asarray(found, np.float64), np.asarray(truth, np.float64)
    return float(np.abs(a - b).max() / np.abs(b).max())


def product(size: int, precision: Precision) -> Callable[[], Any]:
    """One square matrix product."""
    with arithmetic(precision):
        A, B = (jax.random.normal(jax.random.key(seed), (size, size), jnp.float32) for seed in (1, 2))
        multiply = jax.jit(jnp.matmul).lower(A, B).compile()
    return lambda: multiply(A, B)


class Peak(NamedTuple):
    """The size of square matrix product that is fastest on this machine, and its flops a second."""

    size: int
    flops: float


def gemm_peak(precision: Precision, *, small: bool = False) -> Peak:
    """The best over several sizes, each size's best of three."""
    found = []
    for size in (256, 512) if small else (1024, 1536, 2048, 3072, 4096):
        time = in_turns({"": product(size, precision)})[""]
        found.append(Peak(size, 2 * size**3 / min(time.later)))
    return max(found, key=lambda peak: peak.flops)


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The power of the size by which a value grows: least squares in logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])
