"""The command line: `migrator convert`, `migrator verify`, `migrator show`, `migrator survey`."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from migrator.convert import migrate
from migrator.errors import MigratorError, StateDictMismatch
from migrator.listing import listing
from migrator.store import load, save
from migrator.verify import verify

if TYPE_CHECKING:
    from torch import nn

EXAMPLES = 8
SEED = 0


class _Group(click.Group):
    """Turns this package's errors into one line on standard error and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (MigratorError, OSError) as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(2)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ntk-lookahead")
def cli() -> None:
    """Port a PyTorch model to Flax, and prove the port down to its gradients."""


def _example(line: str) -> str:
    return f"\b\nExample:\n  migrator {line}"


def _shape(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in value.split(","))
    except ValueError:
        shape = ()
    if len(shape) < 1 or any(size < 1 for size in shape):
        raise click.BadParameter(f"expected positive numbers such as 2,3,32,32, got {value!r}")
    return shape


def _arguments(_: click.Context, __: click.Parameter, value: str) -> dict[str, Any]:
    try:
        arguments = json.loads(value)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise click.BadParameter('expected a JSON object such as {"num_classes": 10}')
    return arguments


_model = click.option("--model", required=True, metavar="PKG.MOD:FACTORY", help="What builds the torch module.")
_model_args = click.option(
    "--model-args", default="{}", callback=_arguments, metavar="JSON", help="Keyword arguments of the factory."
)
_weights = click.option(
    "--weights", type=click.Path(path_type=Path), help="A state dict: .safetensors, or .pt (nothing in it is executed)."
)
_examples = click.option(
    "--examples",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Real examples to verify on, a .npy file [n, ...]; standard normal noise otherwise.",
)


@cli.command(epilog=_example("convert --model torchvision.models:resnet18 --example-shape 2,3,64,64 -o ported"))
@_model
@_model_args
@_weights
@_examples
@click.option("--example-shape", required=True, callback=_shape, metavar="N,C,H,W", help="Shape of a batch of inputs.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Where the port is written.")
def convert(
    model: str,
    model_args: dict[str, Any],
    weights: Path | None,
    examples: Path | None,
    example_shape: tuple[int, ...],
    out: Path,
) -> None:
    """Port a model, verify the port, and write it."""
    import torch

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MigratorError(f"-o: expected a new or empty directory, but {out} is not: name another or remove it")
    module, notes = _build(model, model_args, weights)
    migrated = migrate(module, (torch.zeros(example_shape),))
    migrated.report = dataclasses.replace(migrated.report, notes=notes)
    report = verify(module, migrated, _real(examples, example_shape))
    save(migrated, out)
    click.echo(report.summary())
    click.echo(f"{report.parameters:,} parameters, verified and written to {out}")
    if weights is None:
        click.echo("note: no --weights were given, so those that the factory made were ported")


@cli.command(
    name="verify", epilog=_example("verify ported --model torchvision.models:resnet18 --weights w.safetensors")
)
@click.argument("directory", type=click.Path(path_type=Path))
@_model
@_model_args
@_weights
@_examples
def verify_command(
    directory: Path, model: str, model_args: dict[str, Any], weights: Path | None, examples: Path | None
) -> None:
    """Compare a written port with its torch model again."""
    migrated = load(directory)
    module, notes = _build(model, model_args, weights)
    migrated.report = dataclasses.replace(migrated.report, notes=notes)
    shape = tuple(size if isinstance(size, int) else EXAMPLES for size in migrated.graph.inputs[0].spec.shape)
    click.echo(verify(module, migrated, _real(examples, shape)).summary())


@cli.command(epilog=_example("show ported"))
@click.argument("directory", type=click.Path(path_type=Path))
def show(directory: Path) -> None:
    """Print the operators of a written port with their shapes, and its tensors."""
    migrated = load(directory)
    click.echo(listing(migrated.graph))
    click.echo(migrated.report.summary())


@cli.command(name="survey", epilog=_example("survey --pattern 'resnet*' --input-size 64 -o survey.md"))
@click.option("--pattern", default="*", metavar="NAME", help="Which architectures, for example 'resnet*'.")
@click.option(
    "--input-size",
    type=click.IntRange(min=1),
    metavar="N",
    help="Side of the images, where an architecture allows it; its own otherwise.",
)
@click.option(
    "--limit-seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Stop an architecture that takes longer.",
)
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The table, Markdown."
)
@click.pass_context
def survey_command(
    ctx: click.Context, pattern: str, input_size: int | None, limit_seconds: float | None, out: Path
) -> None:
    """Port and verify torchvision's classification architectures, one row each.

    Random weights are used. Run the same command again to go on after an interruption; rows that are there are kept.
    The exit code is 1 when an architecture of this run was not ported.
    """
    from migrator.survey import architectures, survey

    names = architectures(pattern)
    rows = []
    for row in survey(names, out, input_size, limit_seconds):
        rows.append(row)
        click.echo(f"{row.name}: {row.outcome}")
    failed = sum(row.outcome != "ok" for row in rows)
    click.echo(f"{len(rows)} of {len(names)} measured now, {failed} not ported; the table is {out}")
    if failed:
        ctx.exit(1)


def _build(model: str, arguments: dict[str, Any], weights: Path | None) -> tuple[nn.Module, tuple[str, ...]]:
    """The module with its weights, and what is to be reported of these."""
    import torch

    name, _, factory = model.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        build = getattr(importlib.import_module(name), factory)
        module = build(**arguments)
    except Exception as error:  # a factory is the user's own code and may raise anything
        raise MigratorError(f"--model {model} cannot be built ({type(error).__name__}: {error})") from error
    if not isinstance(module, torch.nn.Module):
        raise MigratorError(f"--model {model} made a {type(module).__name__}, expected a torch.nn.Module")
    notes: tuple[str, ...] = ()
    if weights is not None:
        from migrator.checkpoint import load_state, read_state

        notes = load_state(module, read_state(weights))
    return module.eval(), notes


def _real(path: Path | None, shape: tuple[int, ...]) -> np.ndarray:
    if path is None:
        return np.random.default_rng(SEED).standard_normal((EXAMPLES, *shape[1:])).astype(np.float32)
    try:
        with path.open("rb") as file:
            examples = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise MigratorError(f"--examples {path} is not a .npy array ({error})") from error
    if examples.shape[1:] != shape[1:] or not len(examples):
        raise StateDictMismatch(f"--examples {path}: expected [n, {list(shape[1:])}], found {list(examples.shape)}")
    return examples


def main() -> None:
    """Entry point of the console script."""
    cli(prog_name="migrator")
