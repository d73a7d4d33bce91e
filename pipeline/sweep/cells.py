"""Where every cell of a grid stands, read from its own event log."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pipeline.errors import PipelineError
from pipeline.files import write_atomically
from pipeline.plain import differences
from pipeline.run.believed import believed_rows
from pipeline.run.rundir import CONFIG, EVENTS, create_run, read_begun, read_config
from pipeline.sweep.grid import Cell

Standing = Literal["new", "started", "finished", "damaged"]


@dataclass(frozen=True)
class State:
    """How far a cell is.

    Args:
        cell: which.
        path: its run directory.
        standing: ``damaged`` cells cannot go on.
        cycles: cycles done.
        reason: what is damaged; else empty.

    """

    cell: Cell
    path: Path
    standing: Standing
    cycles: int = 0
    reason: str = ""


def read_state(out: Path, cell: Cell) -> State:
    """Read where a cell of the grid in ``out`` stands; nothing is written.

    Args:
        out: the grid's directory.
        cell: one strategy at one seed.

    """
    path = out / cell.name
    try:
        if not (path / CONFIG).is_file():
            return State(cell, path, "new")  # what else may be there, `prepare` finds
        changed = differences(cell.config.scientific(), read_config(path).scientific())
        if changed:
            return State(cell, path, "damaged", reason=f"{path / CONFIG} is not the grid's ({'; '.join(changed)})")
        events = [event["event"] for event in read_begun(path)]
    except (PipelineError, OSError) as error:
        return State(cell, path, "damaged", reason=str(error))
    standing: Standing = "finished" if "finished" in events else "started" if events else "new"
    return State(cell, path, standing, events.count("cycle_done"))


def still_there(out: Path, state: State) -> State:
    """Return where a cell that was finished stands now: somebody may have deleted it, or its files, meanwhile.

    Args:
        out: the grid's directory.
        state: of the cell, as it was.

    """
    if state.standing != "finished":
        return state
    now = read_state(out, state.cell)
    if now.standing == "finished":
        try:
            believed_rows(state.path)
        except (PipelineError, OSError, ValueError, KeyError, TypeError) as error:
            now = replace(now, standing="damaged", reason=f"it was finished, but cannot be read any more ({error})")
    elif not now.reason:
        now = replace(now, standing="damaged", reason="it was finished, and was deleted since")
    return now


def read_states(out: Path, cells: Iterable[Cell]) -> list[State]:
    """Read where every cell stands.

    Args:
        out: the grid's directory.
        cells: of the grid.

    """
    return [read_state(out, cell) for cell in cells]


def prepare(state: State) -> State:
    """Make a new cell's run directory, and let one that was begun read its data from where the grid now says.

    Args:
        state: where the cell stands.

    Returns:
        The state, ``damaged`` where the directory is taken by something else or cannot be written.

    """
    if state.standing in ("finished", "damaged"):
        return state
    try:
        if not (state.path / CONFIG).is_file():
            create_run(state.path, state.cell.config)
        elif (config := read_config(state.path)).data != state.cell.config.data:
            moved = config.model_copy(update={"data": state.cell.config.data})
            write_atomically(state.path / CONFIG, moved.to_yaml())
    except (PipelineError, OSError) as error:
        return State(state.cell, state.path, "damaged", reason=str(error).removeprefix("--out: "))
    return state


def cycles_done(path: Path) -> int:
    """Count a run's finished cycles without checking its log; for progress alone."""
    try:
        return (path / EVENTS).read_bytes().count(b'"event":"cycle_done"')
    except OSError:
        return 0
