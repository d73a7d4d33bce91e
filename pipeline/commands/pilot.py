"""``pipeline pilot``."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from common.command_line import Finite
from pipeline.commands.compare import ENGINE_OPTIONS, refuse_fields_of_cells
from pipeline.errors import PipelineError, RunFailedError
from pipeline.lock import refuse_held
from pipeline.options import confirm_file, note, run_options, trust_code_option
from pipeline.places import check_place, refuse_runs

FIXED = ("--dataset", "--strategy", "--on", "--seed", "--threads", "--annotator", "--retrain-every")
"""Options of a run that a pilot has otherwise or not at all."""
CHOSEN = {
    "--n-init": "2 a class",
    "--query-size": "from what is labelled",
    "--cycles": "6",
    "--model": "cnn, for features linear",
}


ENGINE_FIELDS = tuple(flag.lstrip("-").replace("-", "_") for flag, *_ in ENGINE_OPTIONS)


def _engine_options(command: Callable[..., None]) -> Callable[..., None]:
    for flag, kind, text in reversed(ENGINE_OPTIONS):
        command = click.option(flag, type=kind, default=None, help=text)(command)
    return command


@click.command()
@click.argument("data", metavar="FOLDER|DATASET")
@click.option("--strategies", help="Compared with random; names with commas.  [margin-influence-sequential]")
@click.option("--seeds", type=click.IntRange(min=1), help="How many of each strategy.  [8, fewer for --minutes]")
@click.option("--minutes", type=Finite(min=0, min_open=True), help="At most so long, measured first.  [no limit]")
@click.option("--out", type=click.Path(path_type=Path), help="Directory to make or go on with.  [runs/pilot-DATASET]")
@_engine_options
@run_options(*FIXED, defaults=CHOSEN)
@trust_code_option
@click.pass_context
def pilot(
    ctx: click.Context,
    data: str,
    strategies: str | None,
    seeds: int | None,
    minutes: float | None,
    out: Path | None,
    trust_code: bool,
    config_file: Path | None,
    sets: tuple[str, ...],
    **options: Any,
) -> None:
    """Say whether choosing beats drawing at random on your own data, from the labelled part of it, on one page.

    FOLDER holds images in class folders or with a labels.csv; an .npz file or a data set's name will do too.  The
    strategy and random run side by side over seeds; index.html has the gain in accuracy at equal labels, the labels
    saved at equal accuracy, both with intervals, and the answer, which may be no.  Given again it goes on.

    Example: pipeline pilot photos --minutes 30
    """
    refuse_fields_of_cells(sets)
    if (folder := Path(data).expanduser()).is_dir():
        refuse_runs(folder)
    if out is not None:
        check_place(out)
    from pipeline.config.sections import DEFAULT_STRATEGY
    from pipeline.pilot.begin import COMPARISON, Asked, announced, choose_for, data_set, find_place, record
    from pipeline.pilot.measure import read_pilot
    from pipeline.pilot.page import TEXT, write_page
    from pipeline.pilot.verdict import about_saving, sentence
    from pipeline.report.sources import RANDOM
    from pipeline.sweep.engine import EngineOptions
    from pipeline.sweep.grid import parse_strategies
    from pipeline.sweep.session import run_grid

    named = tuple(name for name in parse_strategies(strategies or DEFAULT_STRATEGY) if name != RANDOM)
    if not named:
        raise PipelineError("--strategies: expected some to compare with random, got random alone")
    where: dict[str, Any] = {key: options.pop(key) for key in ENGINE_FIELDS}
    engine = EngineOptions(**{key: value for key, value in where.items() if value is not None})
    fields = {key.replace("__", "."): value for key, value in options.items()}
    confirm_file(config_file, sets, fields, trust_code)
    asked = Asked(data_set(data), named, seeds, minutes, config_file, fields, sets)
    path, choice = find_place(out, asked)
    refuse_held(path / COMPARISON)
    command = _command(ctx)
    if choice is None:
        choice, loaded = choose_for(asked, path, engine, trust_code, note)
        for line in announced(choice, asked, (len(loaded.train), len(loaded.test))):
            note(line)
        record(path, asked, choice)
    else:
        loaded = choice.load(asked)
    outcomes = run_grid(choice.grid(asked), path / COMPARISON, engine, trust_code, command, loaded)
    if failed := [outcome for outcome in outcomes if not outcome.finished]:
        raise RunFailedError(f"{len(failed)} of {len(outcomes)} runs; they are tried again by: {command}")
    shown = read_pilot(path / COMPARISON, note, loaded)
    page = write_page(shown, path, path / COMPARISON, command, choice.notes)
    for each in shown.shown:
        for line in (sentence(each), *about_saving(each)):
            click.echo(line)
    click.echo(f"page {page} (and {TEXT}, a picture)")


def _command(ctx: click.Context) -> str:
    """Return the command as it was given, by which it goes on."""
    words = ["pipeline", "pilot"]
    for parameter in ctx.command.params:
        value = ctx.params[str(parameter.name)]
        if isinstance(parameter, click.Argument):
            words.append(str(value))
        elif value is True:
            words.append(parameter.opts[0])
        elif value not in (None, False, ()):
            each = value if isinstance(value, tuple) else (value,)
            words += [
                word for one in each for word in (parameter.opts[0], f"{one:g}" if isinstance(one, float) else str(one))
            ]
    return shlex.join(words)
