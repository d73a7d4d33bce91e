"""What every way to run cells has in common."""

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from common.memory import available_memory
from pipeline.errors import PipelineError
from pipeline.sweep.forked import can_fork
from pipeline.sweep.process import Attempt, Task


@dataclass(frozen=True)
class EngineOptions:
    """Where the cells are computed.

    Args:
        engine: ``local`` or ``ray``.
        jobs: cells at once, of the local engine; chosen from the cores by default.
        cpus_per_cell: threads of one cell; the cores shared between the jobs by default, 1 on Ray.
        gpus_per_cell: GPUs of one cell, such as 0.5, on Ray.
        address: of the Ray cluster: ``auto``, ``HOST:PORT``, ``ray://HOST:PORT``, or ``local`` for one made for this.
        start: ``fork`` or ``fresh``, how the local engine starts a cell; forked where that can be done by default.

    Raises:
        PipelineError: a number that makes no sense, or an option of the other engine.

    """

    engine: Literal["local", "ray"] = "local"
    jobs: int | None = None
    cpus_per_cell: int | None = None
    gpus_per_cell: float = 0.0
    address: str | None = None
    start: Literal["fork", "fresh"] | None = None

    def __post_init__(self) -> None:
        for name, value in (("--jobs", self.jobs), ("--cpus-per-cell", self.cpus_per_cell)):
            if value is not None and value < 1:
                raise PipelineError(f"{name}: expected at least 1, got {value}")
        if self.gpus_per_cell < 0:
            raise PipelineError(f"--gpus-per-cell: expected 0 or more, got {self.gpus_per_cell:g}")
        if self.engine == "local" and (self.address or self.gpus_per_cell):
            raise PipelineError("--address and --gpus-per-cell: options of --engine ray, but the engine is local")
        if self.engine == "ray" and self.jobs is not None:
            raise PipelineError("--jobs: an option of --engine local; on Ray --cpus-per-cell says how many cells fit")
        if self.engine == "ray" and self.start is not None:
            raise PipelineError("--start: an option of --engine local; on Ray every cell is a fresh process")
        if self.start == "fork" and not can_fork():
            raise PipelineError("--start fork: cells are forked on Linux alone: leave it away")


class Engine(Protocol):
    """One way to run cells."""

    @property
    def is_local(self) -> bool:
        """Whether the cells share this machine's cores."""
        ...

    @property
    def jobs(self) -> int:
        """How many cells run at once."""
        ...

    @property
    def cpus(self) -> int:
        """How many threads each computes with."""
        ...

    @property
    def memory(self) -> int:
        """Bytes free for each of the cells that run at once."""
        ...

    def run(self, tasks: Sequence[Task]) -> Generator[Attempt | None, None, None]:
        """Yield every attempt that ends, and None a few times a second in between; closing it stops what runs."""
        ...

    def close(self) -> None:
        """Let go of whatever the engine holds."""
        ...


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cell_budget(engine: Engine) -> int:
    """Return the kernel's memory budget where none is given: half of a cell's share, rounded down to a power of two."""
    return 1 << max((engine.memory // 2).bit_length() - 1, 20)


def free_memory(jobs: int) -> int:
    """Return what is free on this machine for each of several jobs."""
    return available_memory() // jobs
