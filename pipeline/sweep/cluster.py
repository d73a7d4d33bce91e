"""The Ray engine: a task is ``pipeline resume`` on a run directory that every node sees, so it can be done again."""

import logging
import socket
import warnings
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.sweep.engine import EngineOptions
from pipeline.sweep.process import Attempt, Task, run_to_end

RETRIES = 3
"""How often a cell is begun again because its worker or node died."""
TICK = 0.3
NOT_SHARED = "--out must lie on a file system that every node of the cluster shares"


def run_task(task: Task) -> Attempt:
    """Run one cell where Ray has put this call; a cell that failed is a result, so that Ray does not repeat it."""
    if not Path(task.log).parent.is_dir():
        return Attempt(task.name, 1, f"{task.run} is not seen on {socket.gethostname()}: {NOT_SHARED}")
    if not Path(task.folder).is_dir():
        return Attempt(task.name, 1, f"{task.folder} is not seen on {socket.gethostname()}: start in a shared folder")
    return run_to_end(task)


class RayEngine:
    """Runs every cell as a Ray task.

    Args:
        options: address and GPUs.
        cpus: CPUs, and threads, of each cell.

    Raises:
        PipelineError: Ray is not installed, the cluster is not reached, or no node has what a cell asks for.

    """

    is_local = False

    def __init__(self, options: EngineOptions, cpus: int) -> None:
        self._ray = _import_ray()
        self._gpus = options.gpus_per_cell
        self.cpus = cpus
        self._owned = not self._ray.is_initialized()
        if self._owned:
            self._connect(options.address or "auto")
        fitting = [self._slots(node) for node in self._ray.nodes() if node["Alive"]]
        self.jobs = sum(fitting)
        if not self.jobs:
            self.close()
            wanted = f"{cpus} CPUs and {self._gpus:g} GPUs"
            raise PipelineError(f"--engine ray: no node of the cluster has the {wanted} that a cell asks for")

    @property
    def memory(self) -> int:
        """Bytes that the node with least of them has for each of the cells that run on it at once."""
        nodes = [(node["Resources"].get("memory", 0), self._slots(node)) for node in self._ray.nodes() if node["Alive"]]
        return int(min(memory / slots for memory, slots in nodes if slots))

    def run(self, tasks: Sequence[Task]) -> Generator[Attempt | None, None, None]:
        """Yield every attempt that ends, and None in between; closing it stops what runs."""
        ray = self._ray
        options = {"num_cpus": self.cpus, "num_gpus": self._gpus, "max_retries": RETRIES}
        remote = ray.remote(run_task)
        pending = {remote.options(name=task.name, **options).remote(self._with_gpus(task)): task for task in tasks}
        try:
            while pending:
                done, _ = ray.wait(list(pending), num_returns=1, timeout=TICK)
                yield None
                for reference in done:
                    yield self._result(reference, pending.pop(reference))
        finally:
            for reference in pending:
                ray.cancel(reference)
            if pending:
                ray.wait(list(pending), num_returns=len(pending), timeout=30.0)

    def close(self) -> None:
        """Leave the cluster."""
        if self._owned:
            self._ray.shutdown()

    def _connect(self, address: str) -> None:
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # JAX's, of the daemons that Ray starts
                self._ray.init(address=address, include_dashboard=False if address == "local" else None, **quiet)
        except Exception as error:  # Ray has no one class for this
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise PipelineError(
                f"--address: expected a Ray cluster that can be reached, got {address!r} ({reason}): start one with "
                "'ray start --head', or give --address local"
            ) from error

    def _with_gpus(self, task: Task) -> Task:
        """Hide GPUs from a cell that asks for none: newer versions of Ray leave them visible."""
        return task if self._gpus else task._replace(variables={**task.variables, "CUDA_VISIBLE_DEVICES": ""})

    def _slots(self, node: dict[str, Any]) -> int:
        resources = node["Resources"]
        slots = int(resources.get("CPU", 0) // self.cpus)
        return min(slots, int(resources.get("GPU", 0) / self._gpus)) if self._gpus else slots

    def _result(self, reference: Any, task: Task) -> Attempt:
        try:
            attempt: Attempt = self._ray.get(reference)
        except (self._ray.exceptions.RayError, OSError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            return Attempt(task.name, 1, f"lost by Ray after {RETRIES} further tries: {reason}")
        return attempt


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise PipelineError("--engine ray: Ray is not installed: pip install '.[cluster]', on every node") from error
    return ray
