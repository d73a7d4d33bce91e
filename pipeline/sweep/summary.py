"""Tables of a grid: what it achieved, and what is left of it."""

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from common.memory import shown
from pipeline.queries import resolve
from pipeline.run.believed import believed_rows
from pipeline.run.summary import area_under_curve
from pipeline.sweep.cells import State
from pipeline.sweep.console import table
from pipeline.sweep.engine import Engine
from pipeline.sweep.estimate import Times, shown_seconds
from pipeline.sweep.grid import Grid


def summary(grid: Grid, states: Iterable[State]) -> list[str]:
    """Return a line a strategy: how many of its cells are finished and their mean area under the accuracy curve.

    Args:
        grid: the comparison.
        states: where its cells stand.

    """
    finished = [state for state in states if state.standing == "finished"]
    rows = [("strategy", "finished", "mean AUBC")]
    for name in grid.strategies:
        mine = [area_under_curve(believed_rows(state.path)) for state in finished if state.cell.strategy == name]
        areas = [area for area in mine if area is not None]
        rows.append((name, f"{len(mine)} of {len(grid.seeds)}", f"{fmean(areas):.4f}" if areas else "-"))
    return table(rows)


def unconverged(states: Iterable[State]) -> list[str]:
    """Return a warning where trainings of finished cells were to converge and did not, else nothing.

    They were to where a strategy looks ahead by the network's kernel, or where they came to the epoch limit on the way
    to a tolerance: an accuracy or held-out images may end what others ask by.
    """
    rows = [(state.cell, row) for state in states if state.standing == "finished" for row in believed_rows(state.path)]
    assumed = {cell.strategy for cell, _ in rows if resolve(cell.strategy).strategy.needs_kernel}
    stopped = [
        row.residual_rms
        for cell, row in rows
        if not row.converged
        and (cell.strategy in assumed or (row.ended == "epochs" and cell.config.train_options.tolerance > 0))
    ]
    if not stopped:
        return []
    return [
        f"{len(stopped)} of {counted(len(rows), 'training')} ended before convergence, with residuals of up to "
        f"{max(stopped):.3f} per sample{'; look-ahead assumes about 0' if assumed else ''}: "
        "try more --epochs or another --set train.max_lr"
    ]


def counted(number: int, what: str) -> str:
    """Write a number of things: ``1 cell``, ``2 cells``.

    Args:
        number: how many.
        what: one of them is called.

    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def forecast(grid: Grid, out: Path, states: list[State], times: Times, engine: Engine, basis: str) -> list[str]:
    """Return what a dry run prints: a line a cell, then time and memory and what they are based on.

    Args:
        grid: what would be computed.
        out: where.
        states: every cell.
        times: what was measured.
        engine: what would compute it.
        basis: where the measurements come from.

    """
    rows = [("cell", "state", "cycles", "time left", "peak memory")]
    for state in states:
        left = None if state.standing == "damaged" else times.cell_seconds(state.cell, state.cycles)
        done = state.standing == "finished"
        rows.append(
            (
                state.cell.name,
                state.standing,
                f"{state.cycles} of {state.cell.config.cycles}",
                "-" if done or left is None else shown_seconds(left),
                "-" if done or not (peak := times.peak_memory(state.cell.strategy)) else shown(peak),
            )
        )
    to_run = sum(state.standing in ("new", "started") for state in states)
    seconds, peak = times.seconds_left(states, engine.jobs), max(map(times.peak_memory, grid.strategies))
    lines = [*table(rows), f"{out}: {counted(len(states), 'cell')}, {to_run} to run"]
    if to_run:
        threads = f"{counted(engine.jobs, 'cell')} at once with {counted(engine.cpus, 'thread')} each"
        time = "a time that is not known" if seconds is None else f"about {shown_seconds(seconds)}"
        memory = f"up to {shown(peak)} a cell" if peak else "an unknown amount of memory a cell"
        lines += [f"{time} with {threads}; {memory}, {shown(engine.memory)} free for each", f"estimated from {basis}"]
    return [*lines, "dry run: nothing was written there"]
