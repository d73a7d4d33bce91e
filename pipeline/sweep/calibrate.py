"""What one cell takes, measured: its first cycle, run for real in a temporary directory."""

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from pipeline.errors import RunFailedError
from pipeline.run.rundir import create_run, cycle_path
from pipeline.sweep.cells import cycles_done
from pipeline.sweep.estimate import Times, kind_of
from pipeline.sweep.grid import Cell
from pipeline.sweep.process import Attempt, Task, run_to_end


def calibrate(
    cells: Iterable[Cell], times: Times, cpus: int, say: Callable[[str], None], trust_code: bool = False
) -> list[str]:
    """Measure one strategy of each kind, where nothing of that kind was measured yet.

    A cell runs with two cycles: training, query, training.

    Args:
        cells: of the grid.
        times: where the measurements go.
        cpus: threads of a cell.
        say: told what is about to be measured.
        trust_code: whether code that the cells name may run.

    Returns:
        The names of the cells measured.

    Raises:
        RunFailedError: the cell failed, for the reason given.

    """
    known = {kind_of(name) for name, _ in times.stages}
    measured = []
    for cell in cells:
        if (kind := kind_of(cell.strategy)) not in known:
            known.add(kind)
            measured.append(cell.name)
            say(f"measuring the first cycle of {cell.name} in a temporary directory")
            measure(cell, times, cpus, trust_code)
    return measured


def measure(
    cell: Cell,
    times: Times,
    cpus: int,
    trust_code: bool = False,
    first: int = 0,
    run_task: Callable[[Task], Attempt] | None = None,
) -> list[int]:
    """Run the first two cycles of a cell for real.

    Args:
        cell: what to measure.
        times: where the measurements go.
        cpus: threads of a cell.
        trust_code: whether code that the cell names may run.
        first: the cycle that the first one stands for, where it begins with as many labels as that has.
        run_task: runs a cell to its end, where it is not to be a fresh process.

    Returns:
        The bytes that each cycle left on the disk.

    Raises:
        RunFailedError: it failed, for the reason given.

    """
    with tempfile.TemporaryDirectory(prefix="measure-") as name:
        folder = Path(name)
        run = folder / cell.name
        create_run(run, cell.config.model_copy(update={"cycles": min(2, cell.config.cycles)}))
        log, here = str(folder / "log"), str(Path.cwd())
        attempt = (run_task or run_to_end)(Task(cell.name, str(run), log, cpus, here, trust_code=trust_code))
        if attempt.exit_code:
            raise RunFailedError(f"{cell.name}: {attempt.reason}")
        done = cycles_done(run)
        times.add_run(run, cell.strategy, done, first)
        times.add_attempt(attempt, cell.strategy)
        return [_size(cycle_path(run, cycle)) for cycle in range(done)]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
