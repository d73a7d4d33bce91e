"""What one run would take, before it is begun: its first and its last query are done for real, in a temporary place."""

import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

from common.memory import MIB, available_memory, shown
from pipeline.config import RunConfig
from pipeline.errors import PipelineError
from pipeline.run.context import open_context
from pipeline.run.threads import new_threads
from pipeline.sweep.calibrate import measure
from pipeline.sweep.engine import available_cores
from pipeline.sweep.estimate import Times, shown_seconds
from pipeline.sweep.grid import Cell


def estimate(
    config: RunConfig, where: Path, *, trust_code: bool = False, say: Callable[[str], None] = lambda _: None
) -> list[str]:
    """Return what a run with this configuration takes of time, memory and disk, one line each.

    Args:
        config: of the run; where people answer, the data's own labels do while it is measured.
        where: a folder of the disk that the run would be on.
        trust_code: whether code that the configuration names may run.
        say: told what is being measured.

    Raises:
        PipelineError: the run would be refused, or nothing answers in the place of people.
        RunFailedError: it would fail.

    """
    by_people = not config.simulated
    config = config.model_copy(update={"annotator": None}) if by_people else config
    try:
        threads = new_threads(open_context(config))
    except PipelineError as error:
        answering = " (while it is measured, labels that lie in the data answer in people's place)" if by_people else ""
        raise PipelineError(f"{error}{answering}") from error
    config = config.model_copy(update={"threads": threads})
    times, cell = Times(), Cell(config.query.strategy, config.seed, config)
    say("measuring the first cycle in a temporary directory")
    first = measure(cell, times, available_cores(), trust_code)
    sizes = [first]
    if config.cycles > 2:
        say("measuring the last query, with as many labels as there are then")
        labels = config.query.n_init + config.query.answers * (config.cycles - 2)
        last = config.model_copy(update={"query": config.query.model_copy(update={"n_init": labels})})
        sizes.append(measure(cell._replace(config=last), times, available_cores(), trust_code, config.cycles - 2))
    return _lines(config, cell, times, sizes, where, threads)


def _lines(config: RunConfig, cell: Cell, times: Times, sizes: list[list[int]], where: Path, threads: int) -> list[str]:
    stages = times.cell_seconds(cell, 0) or 0.0
    start = fmean(times.overheads) if times.overheads else 0.0
    asking = fmean(size[0] for size in sizes) if config.cycles > 1 else 0.0
    disk = asking * (config.cycles - 1) + sizes[-1][-1]
    used = f"about {shown(int(disk))}" if disk >= MIB else "less than 1 MiB"
    return [
        f"time    about {shown_seconds(stages + start)}: {config.cycles} cycles {shown_seconds(stages)}, starting and "
        f"writing {shown_seconds(start)}; PyTorch takes {threads} threads",
        f"memory  up to {shown(times.peak_memory(cell.strategy))}, {shown(available_memory())} free",
        f"disk    {used}, {shown(shutil.disk_usage(where).free)} free",
        "measured just now on this machine, the first and the last query; cycles between by the line through them; the "
        "last network was trained from the beginning, which takes longer than going on from the one before",
    ]
