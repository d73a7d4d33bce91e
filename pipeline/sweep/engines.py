"""The ways to run cells: here, in processes of this machine; or on a Ray cluster."""

from pipeline.errors import PipelineError
from pipeline.sweep.cluster import RayEngine
from pipeline.sweep.engine import Engine, EngineOptions, available_cores
from pipeline.sweep.forked import can_fork
from pipeline.sweep.local import LocalEngine


def open_engine(options: EngineOptions, cpus: int | None, wanted: str, device: str) -> Engine:
    """Return the engine asked for.

    Args:
        options: which, and with what.
        cpus: threads of a cell that the grid was begun with, if it was.
        wanted: where torch is to compute, ``auto`` where it may choose.
        device: where it does compute; cells that share one GPU run one after the other unless ``jobs`` says otherwise.

    Raises:
        PipelineError: Ray is not installed, its cluster is not reached, or has no node that a cell would fit on.

    """
    if options.engine == "ray":
        if wanted.startswith("cuda") and not options.gpus_per_cell:
            raise PipelineError("--gpus-per-cell: --device cuda needs some, such as 1 or 0.5; got 0")
        return RayEngine(options, options.cpus_per_cell or cpus or 1)
    cores = available_cores()
    each = options.cpus_per_cell or cpus
    jobs = options.jobs or (1 if device.startswith("cuda") else max(1, cores // (each or 2)))
    fork = options.start == "fork" or (options.start is None and can_fork() and device == "cpu")
    return LocalEngine(jobs, each or max(1, cores // jobs), fork)
