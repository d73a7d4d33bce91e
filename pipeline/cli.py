"""The command line of the project; every option maps to one field of the configuration."""

import importlib
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from pipeline.advice import in_place_of, with_places
from pipeline.errors import PipelineError, RunFailedError
from pipeline.interrupts import install_early

BAD_INPUT, FAILED, INTERRUPTED, WAITING = 2, 1, 130, 75


COMMANDS: tuple[str, ...] = (
    "compare",
    "experiments",
    "export",
    "fidelity",
    "ingest",
    "label",
    "predict",
    "products",
    "report",
    "tensorboard",
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
        with _one_line(ctx):
            try:
                return super().invoke(ctx)
            except (PipelineError, RunFailedError) as error:
                error.args = (self._placed(ctx, str(error)),)
                raise

    def _placed(self, ctx: click.Context, message: str) -> str:
        """Say where the options belong that a message names and the command does not have."""
        command = self.get_command(ctx, ctx.invoked_subcommand or "")
        if command is None or "--" not in message:
            return message
        from pipeline.config import UNSCIENTIFIC

        return with_places(message, command, FIELDS, UNSCIENTIFIC)


@contextmanager
def _one_line(ctx: click.Context) -> Iterator[None]:
    """Let whatever goes wrong end in one line and its exit code."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise  # it shows the help
    except click.UsageError as error:
        instead = in_place_of(error, FIELDS) if isinstance(error, click.NoSuchOption) else ""
        reason = instead or " ".join(error.format_message().split()).rstrip(".")
        where = (error.ctx or ctx).command_path
        click.echo(f"error: {reason}; see '{where} --help'", err=True)
        ctx.exit(BAD_INPUT)
    except PipelineError as error:
        click.echo(f"error: {error}", err=True)
        ctx.exit(BAD_INPUT)
    except RunFailedError as error:
        click.echo(f"failed: {error}", err=True)
        ctx.exit(FAILED)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        ctx.exit(INTERRUPTED)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        click.echo(f"failed: cannot read or write{where}: {error.strerror or error}", err=True)
        ctx.exit(FAILED)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ntk-lookahead")
def cli() -> None:
    """Look-ahead active learning: label the images that will teach the network most.

    Example: pipeline run --dataset digits --strategy margin --seed 0
    """


KEEP_COMPILED = "keep compiled code"
RUN_OPTIONS: list[tuple[str, str, Any, str]] = [
    (
        "--dataset",
        "data.name",
        str,
        "Data set; 'pipeline list datasets' names them. Your own: folder:PATH, npz:PATH.  [digits]",
    ),
    ("--data-root", "data.root", str, "Directory of the data sets, in torchvision's layout."),
    ("--image-size", "data.image_size", str, "Scale and crop your own images to N or HxW pixels."),
    ("--classes", "data.classes", str, "Names of your own data's classes, such as cat,dog.  [those of its labels]"),
    ("--model", "model.name", str, "Network; 'pipeline list models' names them. Your own: PKG.MOD:FACTORY.  [cnn]"),
    ("--init-weights", "model.init_weights", str, "Start from these weights, .safetensors or .pt.  [random ones]"),
    (
        "--strategy",
        "query.strategy",
        str,
        "Query strategy; see 'pipeline list strategies'. Your own: MODULE:STRATEGY.  [margin-influence-sequential]",
    ),
    ("--on", "query.on", str, "Whose outputs entropy, margin, least-confidence read: network (default), linearized."),
    ("--n-init", "query.n_init", int, "Labels to start with, drawn uniformly.  [40]"),
    ("--query-size", "query.size", int, "Labels asked for in a query, of which a cycle has one.  [20]"),
    (
        "--subset-size",
        "query.subset",
        int,
        "Candidates scored in each cycle, drawn uniformly; at most the pool.  [400]",
    ),
    (
        "--query-mode",
        "query.mode",
        str,
        "How look-ahead chooses several: top, greedy or sequential.  [as the strategy's name says, else top]",
    ),
    (
        "--retrain-every",
        "query.retrain_every",
        int,
        "Labels asked for in a cycle, between two trainings.  [the query size]",
    ),
    ("--reference", "query.reference", str, "What look-ahead measures change from: network, linearized."),
    ("--distance", "query.distance", str, "And between what: outputs (default), simplex for probabilities."),
    ("--naive-candidates", "query.naive_candidates", int, "Candidates that 'naive' really retrains with."),
    (
        "--annotator",
        "annotator.name",
        str,
        "Who answers: simulated, files (see export and ingest), or your own MODULE:OBJECT.  [simulated]",
    ),
    (
        "--annotator-noise",
        "annotator.noise",
        float,
        "Share of labels that the simulated annotator gets wrong.  [0.0]",
    ),
    ("--annotator-skip", "annotator.skip", float, "Share that it skips.  [0.0]"),
    ("--annotator-disagree", "annotator.disagree", float, "Share on which two annotators differ until a third.  [0.0]"),
    ("--annotator-late", "annotator.late", float, "Share that it answers one question later.  [0.0]"),
    ("--annotator-missing", "annotator.missing", float, "Share that it never answers.  [0.0]"),
    ("--cycles", "cycles", int, "Networks trained; a query follows each but the last.  [6]"),
    ("--epochs", "train.epochs", int, "Most epochs of one training; it stops earlier once converged."),
    ("--seed", "seed", int, "Seed of every random stream.  [0]"),
    ("--kernel", "kernel.head", str, "sum-of-logits, single-logit, trace or full (C² times larger).  [sum-of-logits]"),
    ("--memory-budget", "kernel.memory_budget", str, "For the kernel, such as 4GiB.  [half of what is free]"),
    ("--device", "device", str, "Where torch computes: cpu, cuda, auto.  [auto]"),
    ("--threads", "threads", int, "Of torch on the CPU.  [what suits network and machine]"),
]
FIELDS = {flag: name for flag, name, *_ in RUN_OPTIONS} | {"--download": "data.download"}
"""The field that each option of a run sets."""


def run_options(
    *without: str, defaults: Mapping[str, str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options that a run's configuration is made of; see ``config_from``.

    Args:
        *without: options that it does not get.
        defaults: what it takes where an option is not given, if not what a run takes, as its help says it.

    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        command = click.option("--set", "sets", multiple=True, metavar="A.B=C", help="Set any field.")(command)
        path = click.Path(path_type=Path)
        command = click.option("--config", "config_file", type=path, help="YAML file with any of the fields.")(command)
        text = "Fetch the data set if it is missing."
        command = click.option("--download", "data__download", is_flag=True, default=None, help=text)(command)
        for flag, name, kind, text in reversed(RUN_OPTIONS):
            if flag not in without:
                taken = (defaults or {}).get(flag)
                said = text if taken is None else f"{text.rpartition('  [')[0]}  [{taken}]"
                command = click.option(flag, name.replace(".", "__"), type=kind, default=None, help=said)(command)
        return command

    return decorate


def config_from(
    config_file: Path | None, sets: tuple[str, ...], options: dict[str, Any], trust_code: bool = False
) -> Any:
    """Return the ``RunConfig`` of a command that has ``run_options``; code that the file alone names must be trusted.

    Args:
        config_file: what ``--config`` names.
        sets: what ``--set`` gives, ``A.B=C``.
        options: the other options, ``data__name`` for ``data.name``.
        trust_code: whether ``--trust-code`` is given.

    """
    from pipeline.config import load_config

    fields = {name.replace("__", "."): value for name, value in options.items()}
    confirm_file(config_file, sets, fields, trust_code)
    return load_config(config_file, fields, sets)


def confirm_file(
    config_file: Path | None, sets: tuple[str, ...], fields: dict[str, Any], trust_code: bool, base: Any = None
) -> None:
    """Refuse code that a configuration's file names and the command does not, or say what runs where it is trusted.

    Args:
        config_file: what ``--config`` names.
        sets: what ``--set`` gives.
        fields: the other options by the field that they set.
        trust_code: whether ``--trust-code`` is given.
        base: as of ``load_config``.

    Raises:
        PipelineError: the code is not trusted, or the file cannot be read.

    """
    from pipeline.run.recorded import code_of_file, confirm_code

    if config_file is not None:
        confirm_code(config_file, code_of_file(config_file, fields, sets, base), trust_code, note)


trust_code_option = click.option(
    "--trust-code", is_flag=True, help="Let code run that a file names: a network or a strategy that is not built in."
)


@cli.command()
@run_options()
@click.option("--out", type=click.Path(path_type=Path), help="Run directory to make.  [runs/DATASET-STRATEGY-seedN]")
@trust_code_option
def run(out: Path | None, trust_code: bool, config_file: Path | None, sets: tuple[str, ...], **options: Any) -> None:
    """Run the whole loop: train, migrate, score, ask, label, again.

    Without options it runs the digits demo.  Later settings win: defaults, --config, options, --set.

    Example: pipeline run --dataset mnist --data-root data --model cnn --n-init 100 --query-size 20 --cycles 8
    """
    from pipeline.files import slug
    from pipeline.heldout import unclaimed
    from pipeline.run.context import open_context
    from pipeline.run.rundir import create_run

    config = config_from(config_file, sets, options, trust_code)
    if config.paged:
        raise PipelineError("annotator: expected simulated or files; the page is served by 'pipeline label FOLDER'")
    context = open_context(config)
    for line in context.data.notes:
        note(line)
    if not len(context.data.test):
        note(unclaimed(config.data.name))
    path = out or fresh_path(f"{slug(config.data.name)}-{slug(config.query.strategy)}-seed{config.seed}")
    create_run(path, config)
    _go_on(path, context)


def note(line: str) -> None:
    """Tell the user, on standard error, what is done."""
    click.echo(f"note: {line}", err=True)


@cli.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@trust_code_option
def resume(run_directory: Path, trust_code: bool) -> None:
    """Go on with a run that was interrupted, from the last step that completed.

    Example: pipeline resume runs/digits-margin-influence-sequential-seed0
    """
    from pipeline.run.recorded import open_recorded
    from pipeline.run.rundir import read_begun, read_config

    config, events = read_config(run_directory), read_begun(run_directory)
    _go_on(run_directory, open_recorded(run_directory, config, events, trust_code, note))


@cli.command()
@click.argument("name", metavar="STAGE", type=click.Choice(["train", "migrate", "score", "select"]))
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--cycle", type=click.IntRange(min=0), required=True, help="Number of the cycle.")
@click.option("--out", type=click.Path(path_type=Path), help="Directory to make for the output.  [a temporary one]")
@trust_code_option
def stage(name: str, run_directory: Path, cycle: int, out: Path | None, trust_code: bool) -> None:
    """Re-run one STAGE of a run from what is on disk; the run itself is not changed.

    Example: pipeline stage score runs/digits-margin-influence-sequential-seed0 --cycle 2
    """
    from pipeline.interrupts import Interrupts
    from pipeline.run.rerun import rerun

    keep_compiled()
    if out is not None and out.exists():
        raise PipelineError(f"--out: expected a new directory, but {out} exists: name another")
    if out is not None and not out.resolve().parent.is_dir():
        raise PipelineError(f"--out: expected a directory in an existing one, but {out.parent} does not exist")
    if out is not None and out.resolve().is_relative_to(run_directory.resolve()):
        raise PipelineError(f"--out: expected a directory outside of the run, which is never changed; got {out}")
    into = out or Path(tempfile.mkdtemp(prefix=f"{name}-"))
    into.mkdir(exist_ok=True)
    try:
        with Interrupts("interrupted"):
            done = rerun(run_directory, name, cycle, into, trust_code, note)
    except BaseException:
        shutil.rmtree(into)
        raise
    for path in done.read:
        click.echo(f"read  {path}")
    for path in done.wrote:
        click.echo(f"wrote {path}")
    verdict = {True: "equals the run's own", False: "DIFFERS from the run's own", None: "the run has none to compare"}
    click.echo(f"result: {verdict[done.same]}")
    if done.same is False:
        raise RunFailedError("the same inputs gave another result: is this another machine or another version?")


@cli.command("list")
@click.argument("what", type=click.Choice(["datasets", "models", "strategies"]))
def list_(what: str) -> None:
    """List what can be chosen, one line each, with its source.

    Example: pipeline list strategies
    """
    from pipeline.queries import installed_strategies
    from trainer.data import CUSTOM_DATA, DATASETS
    from trainer.models import CUSTOM_MODEL, MODELS

    strategies, refused = installed_strategies() if what == "strategies" else ({}, {})
    registry: dict[str, Any] = {
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


@cli.command()
@click.option("--data-root", type=click.Path(path_type=Path), help="Directory in which to look for data sets.")
def doctor(data_root: Path | None) -> None:
    """Say what this machine offers: versions, devices, memory, data sets.

    Example: pipeline doctor --data-root data
    """
    from pipeline.doctor import examine

    findings = list(examine(data_root))
    for finding in findings:
        click.echo(f"{finding.state:<6} {finding.text}")
    if any(finding.state == "bad" for finding in findings):
        raise RunFailedError("something that a run needs is broken; see the lines marked bad")


def keep_compiled() -> None:
    """Keep compiled code in the user's cache directory, when this is the console script and not a test."""
    if click.get_current_context().obj == KEEP_COMPILED:
        from linearize import compilation

        compilation.keep_compiled()


def _go_on(path: Path, context: Any) -> None:
    from pipeline.annotators import WaitingForLabels
    from pipeline.interrupts import Interrupts
    from pipeline.labelling import open_questions
    from pipeline.run.console import RunConsole
    from pipeline.run.loop import ActiveLearningLoop
    from pipeline.run.recorded import named_code
    from pipeline.run.rundir import RunDirectory

    if context.config.paged:
        raise PipelineError(f"{path}: people answer on its page: go on with 'pipeline label {path}'")
    keep_compiled()
    trust = " --trust-code" if named_code(context.config) else ""
    interrupts = Interrupts(f"interrupted; go on with: pipeline resume {path}{trust}")
    try:
        with interrupts, RunConsole(interrupts.check) as console, RunDirectory(path, console.warn) as opened:
            ActiveLearningLoop(opened, context, console)()
            for line in _outcome(path, context.config.data.name):
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


def _outcome(path: Path, data: str) -> list[str]:
    """Return what a run that is finished achieved, and where to look."""
    from pipeline.heldout import unclaimed
    from pipeline.run.summary import area_under_curve, read_rows, shown_accuracy

    rows = read_rows(path)
    final, area = rows[-1], area_under_curve(rows)
    if area is None:
        return [f"trained on {final.n_labelled} labels", unclaimed(data), f"run {path}"]
    return [
        f"final test accuracy {shown_accuracy(final.test_accuracy)} with {final.n_labelled} labels",
        f"area under the curve {area:.4f}",
        f"learning curve {path / 'report' / 'learning_curve.png'}",
        f"run {path}",
    ]


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
