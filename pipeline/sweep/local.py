"""The local engine: a few processes at once on this machine."""

import time
from collections import deque
from collections.abc import Generator, Sequence

from pipeline.sweep.engine import free_memory
from pipeline.sweep.forked import ForkedCell, ForkServer
from pipeline.sweep.process import Attempt, CellProcess, Running, Task, stop

TICK = 0.2
"""Seconds between two looks at the processes."""


class LocalEngine:
    """Runs every cell in a process of its own.

    Args:
        jobs: processes at once.
        cpus: threads of each.
        fork: whether these are forked from one that has imported everything, which saves seconds in each.

    """

    is_local = True

    def __init__(self, jobs: int, cpus: int, fork: bool = False) -> None:
        self.jobs = jobs
        self.cpus = cpus
        self._fork = fork
        self._server: ForkServer | None = None

    @property
    def memory(self) -> int:
        """Bytes free for each of the cells that run at once."""
        return free_memory(self.jobs)

    def run(self, tasks: Sequence[Task]) -> Generator[Attempt | None, None, None]:
        """Yield every attempt that ends, and None in between; closing it stops what runs."""
        waiting, running = deque(tasks), list[Running]()
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    task = waiting.popleft()
                    try:
                        running.append(self._begun(task))
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

    def _begun(self, task: Task) -> Running:
        if not self._fork or task.variables or task.cpus != self.cpus:
            return CellProcess(task)
        self._server = self._server or ForkServer(self.cpus, task.folder)
        return ForkedCell(self._server, task) if self._server.alive else CellProcess(task)

    def close(self) -> None:
        """End the process that cells are forked from."""
        if self._server:
            self._server.close()
