"""The command line of the project; every option maps to one field of the configuration."""

import importlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from common.command_line import one_line, usage
from common.reading import NotReadable
from pipeline.advice import by_option, in_place_of, with_places
from pipeline.errors import PipelineError, RunFailedError
from pipeline.foreign import line_of, place_of
from pipeline.interrupts import install_early
from pipeline.lock import refuse_held
from pipeline.options import FIELDS, beside_option, config_from, note, run_options, trust_code_option
from pipeline.places import check_place, require_run

if TYPE_CHECKING:
    from pipeline.run.context import RunContext
    from pipeline.run.rundir import RunDirectory

BAD_INPUT, FAILED, INTERRUPTED, WAITING = 2, 1, 130, 75


COMMANDS: tuple[str, ...] = (
    "advise",
    "analyse",
    "compare",
    "doctor",
    "estimate",
    "experiments",
    "export",
    "fidelity",
    "fork",
    "ingest",
    "label",
    "pilot",
    "predict",
    "products",
    "report",
    "stage",
    "status",
    "tensorboard",
    "verify",
)
"""Commands with a module of their own in ``pipeline/commands``."""


class _Group(click.Group):
    """Turns errors into one line on standard error and an exit code; loads commands when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *COMMANDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            return getattr(importlib.import_module(f"pipeline.commands.{cmd_name}"), cmd_name)
        return super().get_command(ctx, cmd_name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _one_line(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        words = tuple(ctx.args)
        with _one_line(ctx):
            try:
                return super().invoke(ctx)
            except (PipelineError, RunFailedError) as error:
                error.args = (self._placed(ctx, by_option(str(error), words, FIELDS)),)
                raise

    def _placed(self, ctx: click.Context, message: str) -> str:
        """Say where the options belong that a message names and the command does not have."""
        command = self.get_command(ctx, ctx.invoked_subcommand or "")
        if command is None or "--" not in message:
            return message
        return with_places(message, command, FIELDS, _movable)


def _movable() -> tuple[str, ...]:
    """Return the fields that may be changed in a run that was begun; only now, as they take seconds to import."""
    from pipeline.config import UNSCIENTIFIC

    return UNSCIENTIFIC


@contextmanager
def _one_line(ctx: click.Context) -> Iterator[None]:
    """Let whatever goes wrong end in one line and its exit code."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise  # it shows the help
    except click.UsageError as error:
        instead = in_place_of(error, FIELDS) if isinstance(error, click.NoSuchOption) else ""
        reason = instead or usage(error)
        where = (error.ctx or ctx).command_path
        click.echo(one_line(f"error: {reason}; see '{where} --help'"), err=True)
        ctx.exit(BAD_INPUT)
    except PipelineError as error:
        click.echo(one_line(f"error: {error}"), err=True)
        ctx.exit(BAD_INPUT)
    except RunFailedError as error:
        click.echo(one_line(f"failed: {error}"), err=True)
        ctx.exit(FAILED)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        ctx.exit(INTERRUPTED)
    except OSError as error:
        reason = f"cannot read or write{f' {error.filename}' if error.filename else ''}: {error.strerror or error}"
        bad = isinstance(error, NotReadable)
        click.echo(one_line(f"{'error' if bad else 'failed'}: {reason}"), err=True)
        ctx.exit(BAD_INPUT if bad else FAILED)
    except (Exception, SystemExit) as error:
        if (place := place_of(error)) is None:
            raise
        click.echo(f"failed: code that is not part of this program: {line_of(error)} ({place})", err=True)
        ctx.exit(FAILED)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ntk-lookahead")
def cli() -> None:
    """Look-ahead active learning: label the images that will teach the network most.

    Example: pipeline run --dataset digits --strategy margin --seed 0
    """


KEEP_COMPILED = "keep compiled code"
WHERE = ("seed", "device", "threads", "kernel__memory_budget")
"""Options of the digits demo that leave it the demo."""


@cli.command()
@run_options()
@click.option(
    "--out", type=click.Path(path_type=Path), help="Run directory to make.  [runs/DATASET-MODEL-STRATEGY-seedN]"
)
@trust_code_option
@beside_option
def run(
    out: Path | None,
    trust_code: bool,
    beside_random: bool | None,
    config_file: Path | None,
    sets: tuple[str, ...],
    **options: Any,
) -> None:
    """Run the whole loop: train, migrate, score, ask, label, again.

    Without options it runs the digits demo.  Later settings win: defaults, --config, options, --set.

    Example: pipeline run --dataset mnist --data-root data --model cnn --n-init 100 --query-size 20 --cycles 8
    """
    from pipeline.files import slug, slug_of
    from pipeline.heldout import unclaimed
    from pipeline.run.beside import require_comparable
    from pipeline.run.context import open_context
    from pipeline.run.creating import create_run, refuse_taken

    config = config_from(config_file, sets, options, trust_code)
    if config.paged:
        raise PipelineError("annotator: expected simulated or files; the page is served by 'pipeline label FOLDER'")
    demo = config_file is None and not sets and all(options[name] is None for name in options if name not in WHERE)
    if beside_random:
        require_comparable(config)
    path = out or fresh_path(f"{slug_of(config)}-{slug(config.query.strategy)}-seed{config.seed}")
    refuse_taken(path)  # before anything is read
    check_place(path)
    context = open_context(config)
    for line in context.data.notes:
        note(line)
    if not len(context.data.test):
        note(unclaimed(config.data.name))
    create_run(path, config)
    _go_on(path, lambda _: context, demo if beside_random is None else beside_random)


@cli.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@trust_code_option
def resume(run_directory: Path, trust_code: bool) -> None:
    """Go on with a run that was interrupted, from the last step that completed.

    Example: pipeline resume runs/digits-cnn-margin-influence-sequential-seed0
    """
    require_run(run_directory)
    refuse_held(run_directory)
    from pipeline.run.context import open_context
    from pipeline.run.recorded import confirm_recorded
    from pipeline.run.rundir import read_begun, read_config

    config = read_config(run_directory)
    confirm_recorded(run_directory, config, read_begun(run_directory), trust_code, note)

    def opened(run: "RunDirectory") -> "RunContext":
        context = open_context(config, run=run_directory)
        for line in context.data.notes if run.events else ():
            note(line)
        return context

    _go_on(run_directory, opened)


@cli.command("list")
@click.argument("what", type=click.Choice(["backbones", "datasets", "models", "strategies"]))
def list_(what: str) -> None:
    """List what can be chosen, one line each, with its source.

    Example: pipeline list strategies
    """
    from pipeline.queries import installed_strategies
    from trainer.backbones import BACKBONES, OF_OTHERS, OWN
    from trainer.data import CUSTOM_DATA, DATASETS
    from trainer.models import CUSTOM_MODEL, MODELS

    strategies, refused = installed_strategies() if what == "strategies" else ({}, {})
    registry: dict[str, Any] = {
        "backbones": {kind.name: kind for kinds in (BACKBONES, OF_OTHERS, OWN) for kind in kinds.values()},
        "datasets": DATASETS | CUSTOM_DATA,
        "models": MODELS | CUSTOM_MODEL,
        "strategies": strategies,
    }[what]  # type: ignore[assignment]
    width = max(map(len, registry))
    for name, entry in registry.items():
        options = ", ".join(f"{option}={spec.default}" for option, spec in getattr(entry, "options", {}).items())
        click.echo(f"{name:<{width}}  {entry.description}{options and f'; options {options}'} ({entry.source})")
    if what == "strategies":
        click.echo("Those that look ahead by a criterion are also NAME-greedy and NAME-sequential, see --query-mode.")
    for reason in refused.values():
        click.echo(f"cannot be used: {reason}", err=True)


def keep_compiled() -> None:
    """Keep compiled code in the user's cache directory, when this is the console script and not a test."""
    if click.get_current_context().obj == KEEP_COMPILED:
        from linearize import compilation

        compilation.keep_compiled()


def _go_on(path: Path, context_of: "Callable[[RunDirectory], RunContext]", beside_random: bool = False) -> None:
    """Go on with a run, whose images are read when it is sure that nobody else works on it."""
    from pipeline.annotators import WaitingForLabels
    from pipeline.interrupts import Interrupts
    from pipeline.labelling import open_questions
    from pipeline.run.beside import train_beside
    from pipeline.run.console import RunConsole
    from pipeline.run.loop import ActiveLearningLoop
    from pipeline.run.outcome import outcome
    from pipeline.run.recorded import named_code
    from pipeline.run.rundir import RunDirectory, read_config

    config = read_config(path)
    if config.paged:
        raise PipelineError(f"{path}: people answer on its page: go on with 'pipeline label {path}'")
    keep_compiled()
    trust = " --trust-code" if named_code(config) else ""
    interrupts = Interrupts(f"interrupted; go on with: pipeline resume {path}{trust}")
    try:
        with interrupts, RunConsole(interrupts.check) as console, RunDirectory(path, console.warn) as opened:
            context = context_of(opened)
            ActiveLearningLoop(opened, context, console)()
            if beside_random:
                train_beside(opened, context, console)
            for line in outcome(path, config.data.name):
                console.say(line)
    except KeyboardInterrupt:
        click.echo(interrupts.hint, err=True)
        sys.exit(interrupts.exit_code)
    except WaitingForLabels:
        waiting = open_questions(opened.pool(len(context.data.train)))
        click.echo(f"{len(waiting)} samples wait for labels; next:")
        click.echo(f"  pipeline export {path}    (then fill in the column 'label' of {path / 'to_label.csv'})")
        click.echo(f"  pipeline ingest {path} {path / 'to_label.csv'}")
        click.echo(f"  pipeline resume {path}{trust}")
        sys.exit(WAITING)


def fresh_path(name: str) -> Path:
    """Return runs/NAME, or runs/NAME-2 and so on where that exists.

    Args:
        name: of a run.

    """
    return next(path for path in default_paths(name) if not path.exists())


def default_paths(name: str) -> Iterator[Path]:
    """Yield runs/NAME, runs/NAME-2 and so on.

    Args:
        name: of a run.

    """
    for number in itertools.count(1):
        yield Path("runs") / (name if number == 1 else f"{name}-{number}")


def main() -> None:
    """Entry point of the console script."""
    install_early()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch shares the GPU with jax
    cli(prog_name="pipeline", obj=KEEP_COMPILED)
