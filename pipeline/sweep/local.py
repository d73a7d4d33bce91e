"""The local engine: a few processes at once on this machine."""

import time
from collections import deque
from collections.abc import Generator, Sequence

from pipeline.sweep.engine import free_memory
from pipeline.sweep.process import Attempt, CellProcess, Task, stop

TICK = 0.2
"""Seconds between two looks at the processes."""


class LocalEngine:
    """Runs every cell in a process of its own.

    Args:
        jobs: processes at once.
        cpus: threads of each.

    """

    is_local = True

    def __init__(self, jobs: int, cpus: int) -> None:
        self.jobs = jobs
        self.cpus = cpus

    @property
    def memory(self) -> int:
        """Bytes free for each of the cells that run at once."""
        return free_memory(self.jobs)

    def run(self, tasks: Sequence[Task]) -> Generator[Attempt | None, None, None]:
        """Yield every attempt that ends, and None in between; closing it stops what runs."""
        waiting, running = deque(tasks), list[CellProcess]()
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    task = waiting.popleft()
                    try:
                        running.append(CellProcess(task))
                    except OSError as error:
                        yield Attempt(task.name, 1, f"cannot be started: {error}")
                time.sleep(TICK)
                yield None
                for process in list(running):
                    attempt = process.poll()
                    if attempt is not None:
                        running.remove(process)
                        yield attempt
        finally:
            stop(running)

    def close(self) -> None:
        """Nothing is held between runs."""
