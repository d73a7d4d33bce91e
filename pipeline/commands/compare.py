"""``pipeline compare``: strategies × seeds, every cell an ordinary run."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from common.command_line import Finite
from pipeline.errors import PipelineError, RunFailedError
from pipeline.lock import refuse_held
from pipeline.options import config_from, note, run_options, trust_code_option
from pipeline.places import check_place

if TYPE_CHECKING:
    from pipeline.sweep.engine import EngineOptions
    from pipeline.sweep.grid import Grid

SEEDS = "0-5"
ENGINE_OPTIONS: tuple[tuple[str, Any, str], ...] = (
    ("--engine", click.Choice(["local", "ray"]), "Processes of this machine, or a Ray cluster.  [local]"),
    ("--jobs", click.IntRange(min=1), "Cells at once, of the local engine.  [half of the cores; 1 on a GPU]"),
    ("--cpus-per-cell", click.IntRange(min=1), "Threads of one cell; results depend on it.  [cores / jobs; 1 on Ray]"),
    ("--gpus-per-cell", Finite(min=0), "GPUs of one cell on Ray; 0.5 lets two share one.  [0]"),
    ("--start", click.Choice(["fork", "fresh"]), "How a cell starts, on this machine's CPUs.  [fork on Linux]"),
    ("--address", str, "Of the Ray cluster: auto, HOST:PORT, or local for one on this machine.  [auto]"),
)


def engine_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say where a grid is computed, ``--dry-run`` and ``--trust-code``."""
    text = "Print the cells with time and memory that they take; compute and write nothing in OUT."
    command = trust_code_option(click.option("--dry-run", is_flag=True, help=text)(command))
    for flag, kind, text in reversed(ENGINE_OPTIONS):
        command = click.option(flag, type=kind, default=None, help=text)(command)
    return command


@click.command()
@click.option("--strategies", help="Names with commas, or all; 'pipeline list strategies' names them.")
@click.option("--seeds", help=f"Such as 0-5 or 0,3,7-9.  [{SEEDS}]")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Grid to make or to go on with.  [runs/compare-DATASET-MODEL]"
)
@engine_options
@run_options("--strategy", "--on", "--seed", "--threads", "--annotator")
def compare(
    strategies: str | None,
    seeds: str | None,
    out: Path | None,
    dry_run: bool,
    trust_code: bool,
    engine: str | None,
    jobs: int | None,
    cpus_per_cell: int | None,
    gpus_per_cell: float | None,
    address: str | None,
    start: Literal["fork", "fresh"] | None,
    config_file: Path | None,
    sets: tuple[str, ...],
    **options: Any,
) -> None:
    """Compare strategies over seeds: every cell is a run that differs from the others in these two alone.

    Given again with the same --out it goes on: finished cells are kept, failed ones tried again, new strategies and
    seeds added.  With --out alone it goes on with what that grid holds.

    Example: pipeline compare --dataset mnist --data-root data --strategies random,mlmoc,entropy,margin --seeds 0-5
    """
    grid = _grid(strategies, seeds, out, trust_code, config_file, sets, options)
    carry_out(grid, out, dry_run, trust_code, engine, jobs, cpus_per_cell, gpus_per_cell, address, start)


def carry_out(
    grid: "Grid",
    out: Path | None,
    dry_run: bool = False,
    trust_code: bool = False,
    engine: str | None = None,
    jobs: int | None = None,
    cpus_per_cell: int | None = None,
    gpus_per_cell: float | None = None,
    address: str | None = None,
    start: Literal["fork", "fresh"] | None = None,
) -> None:
    """Compute a grid, or print its forecast; takes what ``engine_options`` gives.

    Args:
        grid: the comparison.
        out: its directory; chosen where absent.
        dry_run: print the forecast alone.
        trust_code: whether code that only the directory names may run.
        engine: what runs the cells.
        jobs: cells at once.
        cpus_per_cell: each cell's cores.
        gpus_per_cell: each cell's share of GPUs.
        address: of a Ray cluster.
        start: how a cell starts.

    Raises:
        PipelineError: bad input; nothing was written.
        RunFailedError: a cell failed, or the strategies of a seed did not start alike.

    """
    if out is not None and not dry_run and not out.is_file():
        check_place(out)
        refuse_held(out)
    from pipeline.run.going_on import AGAIN
    from pipeline.run.recorded import named_code
    from pipeline.sweep.directory import choose_directory
    from pipeline.sweep.engine import EngineOptions
    from pipeline.sweep.session import run_grid

    where = EngineOptions(engine or "local", jobs, cpus_per_cell, gpus_per_cell or 0.0, address, start)  # type: ignore[arg-type]
    path = out or choose_directory(grid)
    if dry_run:
        _forecast(grid, path, where, trust_code)
        return
    outcomes = run_grid(grid, path, where, trust_code)
    failed = [outcome for outcome in outcomes if not outcome.finished]
    if failed:
        trust = " --trust-code" if any(named_code(outcome.cell.config) for outcome in outcomes) else ""
        repeated = sum(AGAIN in outcome.reason for outcome in failed)
        again = f" ({repeated} as before: begin another comparison with other settings)" if repeated else ""
        raise RunFailedError(
            f"{len(failed)} of {len(outcomes)} cells{again}; they are tried again by: pipeline compare --out "
            f"{path}{trust}"
        )


def _grid(
    strategies: str | None,
    seeds: str | None,
    out: Path | None,
    trust_code: bool,
    config_file: Path | None,
    sets: tuple[str, ...],
    options: dict[str, Any],
) -> "Grid":
    """Return the grid asked for; what is not said comes from the one in ``out``, if it holds one.

    Code that only that one names is refused, unless it is trusted.
    """
    from pipeline.run.recorded import confirm_code, named_code, strategies_code
    from pipeline.sweep.grid import GRID, Grid, parse_seeds, parse_strategies, read_grid, unnamed

    refuse_fields_of_cells(sets)
    there = read_grid(out) if out is not None and (out / GRID).is_file() else None
    names = parse_strategies(strategies) if strategies is not None else there.strategies if there else None
    if names is None:
        raise PipelineError("--strategies: expected names such as random,mlmoc,entropy,margin, got none")
    numbers = parse_seeds(seeds) if seeds is not None else there.seeds if there else parse_seeds(SEEDS)
    as_there = config_file is None and not sets and all(value is None for value in options.values())
    if there and out:
        of_strategies = strategies_code(names) if strategies is None else []
        of_model = [code for code in named_code(there.cells()[0].config) if code.role != "strategy"] if as_there else []
        confirm_code(out, [*of_model, *of_strategies], trust_code, note)
    if there and as_there:
        return Grid(names, numbers, there.run, optional=frozenset(unnamed(strategies)))
    fields = {**options, "query__strategy": names[0], "seed": 0}
    return Grid.of(config_from(config_file, sets, fields, trust_code), names, numbers, unnamed(strategies))


def refuse_fields_of_cells(sets: tuple[str, ...]) -> None:
    """Refuse settings that each cell of a grid has of its own."""
    for setting in sets:
        if setting.partition("=")[0].strip() in ("seed", "query.strategy"):
            raise PipelineError(f"--set {setting}: each cell has its own; give --strategies and --seeds")


def _forecast(grid: "Grid", out: Path, where: "EngineOptions", trust_code: bool) -> None:
    from pipeline.sweep.calibrate import calibrate
    from pipeline.sweep.cells import read_states
    from pipeline.sweep.estimate import read_times
    from pipeline.sweep.session import cautions, make_plan
    from pipeline.sweep.summary import forecast

    plan = make_plan(grid, out, where, trust_code)
    for line in plan.notes:
        note(line)
    try:
        states = read_states(out, plan.grid.cells())
        times = read_times(out, states)
        left = [state.cell for state in states if state.standing in ("new", "started")]
        measured = calibrate(left, times, plan.engine.cpus, lambda line: click.echo(line, err=True), plan.trust_code)
        sources = ["cells of this grid"] if any(state.cycles for state in states) else []
        if measured:
            others = "" if len(measured) == len(grid.strategies) else "; others are taken to be as these"
            sources.append(
                f"the first cycle of {' and '.join(measured)}, run on this machine just now{others}; later cycles have "
                "more labels and take longer, and cells at once slow one another"
            )
        for line in forecast(plan.grid, out, states, times, plan.engine, " and ".join(sources)):
            click.echo(line)
        for warning in cautions(plan.grid, plan.engine, times):
            click.echo(f"warning: {warning}", err=True)
    finally:
        plan.engine.close()
