"""The command line: ``migrator convert``, ``verify``, ``show``, ``source``, ``survey``."""

from __future__ import annotations

import dataclasses
import importlib
import io
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from common.command_line import Finite, OneLineGroup
from common.files import unwritable
from common.memory import available_memory, shown
from common.reading import parse_json, read_regular, read_text, why
from migrator.compare import drawn
from migrator.convert import migrate
from migrator.errors import MigratorError, PortMismatch, StateDictMismatch
from migrator.graph import TensorSpec
from migrator.listing import listing
from migrator.source import apply_source, check_source, to_source
from migrator.store import load, save, write_new
from migrator.survey import PACKAGES, architectures, survey
from migrator.to_torch import to_state_dict
from migrator.verify import same_weights, verify

if TYPE_CHECKING:
    from torch import nn

    from migrator.port import Migrated
    from migrator.report import Report

EXAMPLES = 8
LARGEST_EXAMPLES = 2**34
LARGEST_SIDE = 2**14
LONGEST_SECONDS = 1e7
SEED = 0
INPUT_TYPES = ("float32", "float64", "int32", "int64", "uint8", "bool")


class _Group(OneLineGroup):
    """``OneLineGroup`` with the migrator's refusals."""

    bad_input = (MigratorError,)


def _example(line: str) -> str:
    return f"\b\nExample:\n  migrator {line}"


_CONVERT_EXAMPLE = _example("convert --model torchvision.models:resnet18 --example-shape 2,3,64,64 -o ported")


@click.group(cls=_Group, epilog=_CONVERT_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ntk-lookahead")
def cli() -> None:
    """Port a PyTorch model to Flax, and prove the port down to its gradients."""


class _Shape(click.ParamType[TensorSpec]):
    """``N,C,H,W``, or with a type ``N,L:int64``."""

    name = "N,C,H,W"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> TensorSpec:
        sizes, _, dtype = str(value).partition(":")
        try:
            shape = tuple(int(part) for part in sizes.split(","))
        except ValueError:
            shape = ()
        if not shape or any(size < 1 for size in shape):
            self.fail(f"expected positive numbers such as 2,3,32,32, got {value!r}", param, ctx)
        if (dtype or "float32") not in INPUT_TYPES:
            self.fail(f"expected one of {', '.join(INPUT_TYPES)} after the colon, got {dtype!r}", param, ctx)
        size = math.prod(shape) * np.dtype(dtype or "float32").itemsize
        if size > (there := available_memory()):
            self.fail(
                f"expected sizes that memory holds, got {value!r}: {shown(size)}, {shown(there)} free", param, ctx
            )
        return TensorSpec(shape, dtype or "float32")


def _arguments(_: click.Context, __: click.Parameter, value: str) -> dict[str, Any]:
    try:
        arguments = parse_json(value)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise click.BadParameter('expected a JSON object such as {"num_classes": 10}')
    return arguments


def _model(flag: str) -> Any:
    return click.option(flag, "model", required=True, metavar="PKG.MOD:FACTORY", help="What builds the torch module.")


_model_args = click.option(
    "--model-args", default="{}", callback=_arguments, metavar="JSON", help="Keyword arguments of the factory."
)
_weights = click.option(
    "--weights", type=click.Path(path_type=Path), help="A state dict: .safetensors, or .pt (nothing in it is executed)."
)
_examples = click.option(
    "--examples",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="Real examples to verify on, a .npy file [n, ...]; otherwise standard normal noise, and zeros and ones where "
    "the input is of whole numbers. Once for each input.",
)


@cli.command(epilog=_CONVERT_EXAMPLE)
@_model("--model")
@_model_args
@_weights
@_examples
@click.option(
    "--example-shape",
    "example_shapes",
    required=True,
    multiple=True,
    type=_Shape(),
    help="Shape of a batch of inputs, and their type if it is not float32: 2,16:int64. Once for each input.",
)
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Where the port is written.")
def convert(
    model: str,
    model_args: dict[str, Any],
    weights: Path | None,
    examples: tuple[Path, ...],
    example_shapes: tuple[TensorSpec, ...],
    out: Path,
) -> None:
    """Port a model, verify the port, and write it."""
    import torch

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MigratorError(f"-o: expected a new or empty directory, but {out} is not: name another or remove it")
    if folder := unwritable(out):
        raise MigratorError(f"-o: cannot write to {out}: no permission to write in {folder}: name another")
    real = _real(examples, example_shapes)
    module, notes = _build("--model", model, model_args, weights)
    zeros = tuple(torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in example_shapes)  # type: ignore[arg-type]
    migrated = migrate(module, zeros)
    migrated.report = dataclasses.replace(migrated.report, notes=notes)
    report = verify(module, migrated, real)
    save(migrated, out)
    click.echo(report.summary())
    click.echo(f"{report.parameters:,} parameters, verified and written to {out}")
    if weights is None:
        click.echo("note: no --weights were given, so those that the factory made were ported")


@cli.command(
    name="verify", epilog=_example("verify ported --against torchvision.models:resnet18 --weights w.safetensors")
)
@click.argument("directory", type=click.Path(path_type=Path))
@_model("--against")
@_model_args
@_weights
@_examples
@click.option(
    "--source",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Verify this Python file, as `migrator source` writes it, with the port's tensors. It is executed.",
)
def verify_command(
    directory: Path,
    model: str,
    model_args: dict[str, Any],
    weights: Path | None,
    examples: tuple[Path, ...],
    source: Path | None,
) -> None:
    """Compare a written port with its torch model again.

    Without --weights, a factory that makes other weights each time is given the port's.
    """
    from migrator.checkpoint import load_state

    migrated = load(directory)
    real = _real(examples, tuple(value.spec for value in migrated.graph.inputs))
    module, notes = _build("--against", model, model_args, weights)
    if weights is None and not same_weights(module, migrated):
        load_state(module, to_state_dict(migrated, migrated.variables))
        notes = ("no --weights were given and the factory's own differ: the port's were put into the torch module",)
    migrated.report = dataclasses.replace(migrated.report, notes=notes)
    report = verify(module, migrated, real) if source is None else _verify_source(source, module, migrated, real)
    click.echo(report.summary())
    what = f"the source in {source}, with the tensors of {directory}" if source else f"the port in {directory}"
    click.echo(f"{what}: equal to {model} in {len(report.checks)} checks")


@cli.command(name="source", epilog=_example("source ported -o network.py"))
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="A new Python file; printed otherwise."
)
def source_command(directory: Path, out: Path | None) -> None:
    """Write a port as readable Flax source, which needs JAX and Flax only.

    The source is run beside the port first: outputs, gradients and tangent kernel must be the same.
    """
    if out is not None and out.exists():
        raise MigratorError(f"-o: expected a new file, but {out} exists: name another or remove it")
    migrated = load(directory)
    text = to_source(migrated)
    check_source(migrated, text)
    if out is None:
        click.echo(text, nl=False)
        return
    write_new(out, text.encode())
    click.echo(f"{text.count(chr(10)):,} lines, equal to the port in {directory}, written to {out}")


@cli.command(epilog=_example("show ported"))
@click.argument("directory", type=click.Path(path_type=Path))
def show(directory: Path) -> None:
    """Print the operators of a written port with their shapes, and its tensors."""
    migrated = load(directory)
    click.echo(listing(migrated.graph))
    click.echo(migrated.report.summary())


@cli.command(name="survey", epilog=_example("survey --pattern 'resnet*' --input-size 64 -o survey.md"))
@click.option(
    "--package", type=click.Choice(PACKAGES), default=PACKAGES[0], show_default=True, help="Whose architectures."
)
@click.option("--pattern", default="*", metavar="NAME", help="Which architectures, for example 'resnet*'.")
@click.option(
    "--input-size",
    type=click.IntRange(min=1, max=LARGEST_SIDE),
    metavar="N",
    help="Side of the images, where an architecture allows it; its own otherwise.",
)
@click.option(
    "--limit-seconds",
    type=Finite(min=0, min_open=True, max=LONGEST_SECONDS),
    metavar="S",
    help="Stop an architecture that takes longer.",
)
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The table, Markdown."
)
@click.pass_context
def survey_command(
    ctx: click.Context, package: str, pattern: str, input_size: int | None, limit_seconds: float | None, out: Path
) -> None:
    """Port and verify the architectures of a package, one row each.

    Of torchvision all for classification; of timm the smallest of each family; of transformers small models of many
    types (these two want the extra `survey`). Random weights are used. Run the same command again to go on after an
    interruption; rows that are there are kept.
    The exit code is 1 when an architecture of this run was not ported.
    """
    names = architectures(pattern, package)
    rows = []
    for row in survey(names, out, input_size, limit_seconds, package):
        rows.append(row)
        click.echo(f"{row.name}: {row.outcome}")
    failed = sum(row.outcome != "ok" for row in rows)
    click.echo(f"{len(rows)} of {len(names)} measured now, {failed} not ported; the table is {out}")
    if failed:
        ctx.exit(1)


def _verify_source(source: Path, module: nn.Module, migrated: Migrated, real: tuple[np.ndarray, ...]) -> Report:
    try:
        text = read_text(source)
    except UnicodeDecodeError as error:
        raise MigratorError(f"--source {source} is not a text in UTF-8 ({error})") from error
    migrated.apply_fn = apply_source(text, str(source))
    try:
        return verify(module, migrated, real)
    except PortMismatch as error:
        raise PortMismatch(f"{source}: {error}".replace("the port differs", "the source differs")) from error
    except MigratorError:
        raise
    except Exception as error:  # the file may have been changed by hand
        reason = (str(error).strip().splitlines() or [""])[0]
        raise PortMismatch(
            f"{source} cannot be run with the tensors of this port ({type(error).__name__}: {reason})"
        ) from error


def _build(flag: str, model: str, arguments: dict[str, Any], weights: Path | None) -> tuple[nn.Module, tuple[str, ...]]:
    """The module with its weights, and what is to be reported of these."""
    import torch

    name, _, factory = model.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        build = getattr(importlib.import_module(name), factory)
        module = build(**arguments)
    except Exception as error:  # a factory is the user's own code and may raise anything
        raise MigratorError(f"{flag} {model} cannot be built ({type(error).__name__}: {error})") from error
    if not isinstance(module, torch.nn.Module):
        raise MigratorError(f"{flag} {model} made a {type(module).__name__}, expected a torch.nn.Module")
    notes: tuple[str, ...] = ()
    if weights is not None:
        from migrator.checkpoint import load_state, read_state

        notes = load_state(module, read_state(weights))
    return module.eval(), notes


def _real(paths: tuple[Path, ...], inputs: tuple[TensorSpec, ...]) -> tuple[np.ndarray, ...]:
    """Examples to verify on, one array for each input."""
    if paths and len(paths) != len(inputs):
        raise MigratorError(f"--examples: the model takes {len(inputs)} inputs, but {len(paths)} files were given")
    if not paths:
        return drawn(np.random.default_rng(SEED), inputs, EXAMPLES)
    return tuple(_read_examples(path, spec) for path, spec in zip(paths, inputs, strict=True))


def _read_examples(path: Path, spec: TensorSpec) -> np.ndarray:
    try:
        content = io.BytesIO(read_regular(path, min(LARGEST_EXAMPLES, available_memory())))
        examples = np.lib.format.read_array(content, allow_pickle=False)
    except Exception as error:  # a damaged header can make it raise anything
        raise MigratorError(f"--examples {path} is not a .npy array ({why(error)})") from error
    if examples.ndim == 0 or examples.shape[1:] != spec.example or not len(examples):
        raise StateDictMismatch(f"--examples {path}: expected [n, {list(spec.example)}], found {list(examples.shape)}")
    if examples.dtype.kind != np.dtype(spec.dtype).kind:
        raise StateDictMismatch(f"--examples {path}: expected {spec.dtype}, found {examples.dtype}")
    if not np.isfinite(examples).all():
        raise StateDictMismatch(f"--examples {path}: holds NaN or infinite values")
    return examples.astype(spec.dtype)


def main() -> None:
    """Entry point of the console script."""
    cli(prog_name="migrator")
