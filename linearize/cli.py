"""The linearisation stage alone, on plain files."""

import importlib
import json
import os
from pathlib import Path
from typing import Any

import click
import numpy as np

from linearize.criteria import CRITERIA, REFERENCES, Reference
from linearize.errors import LinearizeError
from linearize.heads import HEADS
from linearize.service import KernelOptions, LookAhead

BAD_INPUT = 2


class _Group(click.Group):
    """Turns this package's errors into one line on standard error and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (LinearizeError, OSError) as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(BAD_INPUT)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ntk-lookahead")
def cli() -> None:
    """Look-ahead scores from a Flax network and two files of images.

    Example: linearize score port --labeled runs/arrays/labelled.npz --pool runs/arrays/pool.npz -o scores.npz
    """


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
@click.option("--memory-budget", metavar="SIZE", help="Such as 4GiB.  [half of what is free]")
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
    memory_budget: str | None,
    loader: str,
) -> None:
    """Score a pool by how the network in PORT would change; higher means query first.

    Example: linearize score port --labeled runs/arrays/labelled.npz --pool runs/arrays/pool.npz -o scores.npz
    """
    if output.exists() or not output.absolute().parent.is_dir():
        reason = "exists: name another or remove it" if output.exists() else "lies in no existing directory"
        raise LinearizeError(f"-o: expected a new file, but {output} {reason}")
    X, Y = _read_arrays(labeled, "x", "y")
    candidates, ids = _read_arrays(pool, "x", "ids")
    if X.ndim < 2 or candidates.ndim < 2 or ids.shape != candidates.shape[:1]:
        raise LinearizeError(
            f"expected x [L, ...] in {labeled}, x [U, ...] and one id for each in {pool}; got {X.shape}, "
            f"{candidates.shape} and {ids.shape}"
        )
    if len(np.unique(ids)) != len(ids):
        raise LinearizeError(f"{pool}: expected every id once, but some stand twice")
    if not ((Y.sum(-1) == 1) & ((Y == 0) | (Y == 1)).all(-1)).all():
        raise LinearizeError(f"{labeled}: expected y one-hot, a single 1 in each row and 0 elsewhere")
    network = _load(loader, port)
    _probe(network, X, Y)
    options = KernelOptions(head=head, logit=logit, ridge=ridge, memory_budget=memory_budget)
    service = LookAhead.fit(network.apply_fn, network.variables, X, Y, candidates, options)
    scores = service.scores(criterion, reference)
    _write(output, ids=ids, scores=scores, pseudo_labels=service.pseudo_labels())
    click.echo(json.dumps({"criterion": criterion, **service.diagnostics.to_json()}))
    best = ", ".join(f"{ids[i]} ({scores[i]:.4g})" for i in np.argsort(-scores, kind="stable")[:5])
    click.echo(f"wrote {output}: {len(scores)} scores; highest: {best}")


def _read_arrays(path: Path, *names: str) -> list[np.ndarray]:
    expected = f"{path}: expected an npz file with the numeric arrays {' and '.join(names)}"
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in names if name not in file]
            if missing:
                raise LinearizeError(f"{expected}; it has {', '.join(file) or 'none'}")
            arrays = [np.asarray(file[name]) for name in names]
    except LinearizeError:
        raise
    except Exception as error:  # zipfile, zlib and numpy each have their own errors for a damaged file
        raise LinearizeError(f"{expected}; cannot read it ({error})") from error
    if not all(np.issubdtype(array.dtype, np.number) for array in arrays):
        raise LinearizeError(f"{expected}; got {', '.join(str(array.dtype) for array in arrays)}")
    return arrays


def _load(loader: str, port: Path) -> Any:
    """Resolve ``pkg.mod:function``, named by the user, and call it: this package knows no migrator."""
    module, _, function = loader.partition(":")
    try:
        load = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise LinearizeError(
            f"--loader: expected PKG.MOD:FUNCTION that can be imported, got {loader!r} ({error})"
        ) from error
    try:
        network = load(port)
    except (OSError, ValueError) as error:
        raise LinearizeError(f"{port}: {loader} cannot load it: {error}") from error
    if not (hasattr(network, "apply_fn") and hasattr(network, "variables")):
        raise LinearizeError(f"--loader: expected an object with apply_fn and variables, {loader} made {network!r:.60}")
    return network


def _probe(network: Any, X: np.ndarray, Y: np.ndarray) -> None:
    """Run one example, so that images of the wrong shape are named as such."""
    try:
        outputs = np.asarray(network.apply_fn(network.variables, X[:1]))
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise LinearizeError(f"the network does not take inputs {X.dtype}{list(X.shape[1:])}: {reason}") from error
    if Y.shape != (len(X), outputs.shape[-1]):
        raise LinearizeError(f"y: expected one-hot [{len(X)}, {outputs.shape[-1]}], got {list(Y.shape)}")


def _write(path: Path, **arrays: np.ndarray) -> None:
    """Write an npz file as a whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with temporary.open("xb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def main() -> None:
    """Entry point of the console script."""
    cli(prog_name="linearize")
