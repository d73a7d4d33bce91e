"""The linearisation stage alone, on plain files."""

import importlib
import json
import zipfile
from pathlib import Path
from typing import Any

import click
import numpy as np

from linearize.criteria import CRITERIA, REFERENCES, Reference
from linearize.errors import LinearizeError
from linearize.heads import HEADS
from linearize.memory import GIB
from linearize.service import KernelOptions, LookAhead

BAD_INPUT = 2


class _Group(click.Group):
    """Turns this package's errors into one line on standard error and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LinearizeError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(BAD_INPUT)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ntk-lookahead")
def cli() -> None:
    """Look-ahead scores from a Flax network and two files of images."""


@cli.command()
@click.argument("port", type=click.Path(path_type=Path))
@click.option(
    "--labeled", required=True, type=click.Path(path_type=Path), help="npz with x [L, ...] and y [L, C] one-hot."
)
@click.option("--pool", required=True, type=click.Path(path_type=Path), help="npz with x [U, ...] and ids [U].")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="npz to write ids and scores to.")
@click.option("--criterion", type=click.Choice(list(CRITERIA)), default="mlmoc-flips", show_default=True)
@click.option("--reference", type=click.Choice(REFERENCES), help="What change is measured from.  [the criterion's own]")
@click.option("--head", type=click.Choice(list(HEADS)), default="sum-of-logits", show_default=True)
@click.option("--logit", type=click.IntRange(min=0), default=0, show_default=True, help="For the head single-logit.")
@click.option("--ridge", type=click.FloatRange(min=0), default=0.0, show_default=True, help="Of Θ's mean diagonal.")
@click.option(
    "--memory-gib", type=click.FloatRange(min=0, min_open=True), help="Memory budget.  [half of what is free]"
)
@click.option("--loader", default="migrator:load", show_default=True, metavar="PKG.MOD:FUNCTION",
              help="Function from PORT to an object with apply_fn and variables.")  # fmt: skip
def score(
    port: Path,
    labeled: Path,
    pool: Path,
    output: Path,
    criterion: str,
    reference: Reference | None,
    head: str,
    logit: int,
    ridge: float,
    memory_gib: float | None,
    loader: str,
) -> None:
    """Score a pool by how the network in PORT would change; higher means query first.

    Example: linearize score port/ --labeled labelled.npz --pool pool.npz -o scores.npz
    """
    if output.exists():
        raise LinearizeError(f"-o: expected a new file, but {output} exists: name another or remove it")
    X, Y = _read_arrays(labeled, "x", "y")
    candidates, ids = _read_arrays(pool, "x", "ids")
    if len(ids) != len(candidates):
        raise LinearizeError(f"{pool}: expected one id for each of {len(candidates)} inputs, got {len(ids)}")
    network = _load(loader, port)
    budget = int(memory_gib * GIB) if memory_gib else None
    options = KernelOptions(head=head, logit=logit, ridge=ridge, memory_budget=budget)
    service = LookAhead.fit(network.apply_fn, network.variables, X, Y, candidates, options)
    scores = service.scores(criterion, reference)
    with output.open("xb") as file:
        np.savez(file, ids=ids, scores=scores, pseudo_labels=service.pseudo_labels())
    click.echo(json.dumps({"criterion": criterion, **service.diagnostics.to_json()}))
    best = ", ".join(f"{ids[i]} ({scores[i]:.4g})" for i in np.argsort(-scores, kind="stable")[:5])
    click.echo(f"wrote {output}: {len(scores)} scores; highest: {best}")


def _read_arrays(path: Path, *names: str) -> list[np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            missing = [name for name in names if name not in arrays]
            if missing:
                raise LinearizeError(
                    f"{path}: expected arrays {' and '.join(names)}, got {', '.join(arrays) or 'none'}"
                )
            return [arrays[name] for name in names]
    except (OSError, zipfile.BadZipFile, EOFError, AttributeError, TypeError) as error:
        raise LinearizeError(
            f"{path}: expected an npz file with {' and '.join(names)}; cannot read it ({error})"
        ) from error
    except ValueError as error:
        if isinstance(error, LinearizeError):
            raise
        raise LinearizeError(
            f"{path}: expected an npz file with {' and '.join(names)}; cannot read it ({error})"
        ) from error


def _load(loader: str, port: Path) -> Any:
    """Resolve ``pkg.mod:function``, named by the user, and call it: this package knows no migrator."""
    module, _, function = loader.partition(":")
    try:
        load = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise LinearizeError(
            f"--loader: expected PKG.MOD:FUNCTION that can be imported, got {loader!r} ({error})"
        ) from error
    try:
        return load(port)
    except (OSError, ValueError) as error:
        raise LinearizeError(f"{port}: {loader} cannot load it: {error}") from error


def main() -> None:
    """Entry point of the console script."""
    cli(prog_name="linearize")
