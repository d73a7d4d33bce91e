"""The linearisation stage alone, on plain files."""

import importlib
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from common.command_line import Finite, OneLineGroup
from common.losses import LOSSES
from common.memory import available_memory, resident_memory, shown
from common.npz import ArchiveError, array_names, read_arrays
from common.reading import why
from linearize.compilation import keep_compiled
from linearize.criteria import CRITERIA, DISTANCES, REFERENCES, Distance, Measure, Reference
from linearize.engine.explain import fallbacks, table
from linearize.engine.plan import Plan
from linearize.errors import LinearizeError
from linearize.heads import HEADS
from linearize.kernel import plan_ntk
from linearize.service import KernelOptions, LookAhead
from linearize.storage import write_npz
from linearize.types import Layers, Precision, Progress

EXAMPLES = click.IntRange(1, 10**9)


class _Group(OneLineGroup):
    bad_input = (LinearizeError,)
    interrupted = "interrupted; nothing was written"  # files are written as a whole or not at all


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ntk-lookahead")
def cli() -> None:
    """Look-ahead scores from a Flax network and two files of images.

    Example: linearize score port --labelled runs/arrays/labelled.npz --pool runs/arrays/pool.npz -o scores.npz
    """


def kernel_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say how a kernel is computed; they reach the command as one ``KernelOptions``."""
    options = [
        click.option("--kernel", "head", type=click.Choice(list(HEADS)), default="sum-of-logits", show_default=True),
        click.option("--logit", type=click.IntRange(min=0), default=0, show_default=True, help="For single-logit."),
        click.option("--layers", type=click.Choice(get_args(Layers)), default="all", show_default=True,
                     help="Differentiate all parameters, or the last linear layer's."),
        click.option("--precision", type=click.Choice(get_args(Precision)), default="float32", show_default=True),
        click.option("--memory-budget", metavar="SIZE", help="Such as 4GiB.  [half of what is free]"),
        click.option("--devices", type=click.IntRange(min=1), help="How many of JAX's devices share the work.  [all]"),
        click.option("--loader", default="migrator:load", show_default=True, metavar="PKG.MOD:FUNCTION",
                     help="Function from PORT to an object with apply_fn and variables."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@click.argument("port", type=click.Path(path_type=Path))
@click.option(
    "--labelled",
    "--labeled",
    "labelled",
    required=True,
    type=click.Path(path_type=Path),
    help="npz with x [L, ...] and y [L, C] one-hot.",
)
@click.option(
    "--pool", required=True, type=click.Path(path_type=Path), help="npz with x [U, ...], ids [U]; perhaps paths."
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="npz to write ids, their paths and scores to.",
)
@click.option("--criterion", type=click.Choice(list(CRITERIA)), default="margin-influence", show_default=True)
@click.option("--reference", type=click.Choice(REFERENCES), help="What change is measured from.  [the criterion's own]")
@click.option(
    "--distance", type=click.Choice(DISTANCES), default="outputs", show_default=True, help="And between what."
)
@click.option(
    "--loss", type=click.Choice(list(LOSSES)), default="l2", show_default=True, help="That trained the network."
)
@click.option("--ridge", type=Finite(min=0), default=0.0, show_default=True, help="Of Θ's mean diagonal.")
@click.option("--penalised", is_flag=True, help="The network was solved for with this ridge, as linear is by default.")
@kernel_options
def score(
    port: Path,
    labelled: Path,
    pool: Path,
    output: Path,
    criterion: str,
    reference: Reference | None,
    distance: Distance,
    loss: str,
    penalised: bool,
    loader: str,
    **kernel: Any,
) -> None:
    """Score a pool by how the network in PORT would change; higher means query first.

    Example: linearize score port --labelled runs/arrays/labelled.npz --pool runs/arrays/pool.npz -o scores.npz
    """
    if output.exists() or not output.absolute().parent.is_dir():
        reason = "exists: name another or remove it" if output.exists() else "lies in no existing directory"
        raise LinearizeError(f"-o: expected a new file, but {output} {reason}")
    X, Y = _read_arrays(labelled, "x", "y")
    candidates, ids = _read_arrays(pool, "x", "ids")
    if X.ndim < 2 or candidates.ndim < 2 or ids.shape != candidates.shape[:1]:
        raise LinearizeError(
            f"expected x [L, ...] in {labelled}, x [U, ...] and one id for each in {pool}; got {X.shape}, "
            f"{candidates.shape} and {ids.shape}"
        )
    paths = _read_paths(pool, len(ids))
    if len(np.unique(ids)) != len(ids):
        raise LinearizeError(f"{pool}: expected every id once, but some stand twice")
    if not ((Y.sum(-1) == 1) & ((Y == 0) | (Y == 1)).all(-1)).all():
        raise LinearizeError(f"{labelled}: expected y one-hot, a single 1 in each row and 0 elsewhere")
    network = _load(loader, port)
    _probe(network, X, Y)
    with _progress() as advance:
        service = LookAhead.fit(
            network.apply_fn,
            network.variables,
            X,
            Y,
            candidates,
            KernelOptions(**kernel),
            advance,
            _announce,
            full=CRITERIA[criterion].needs == "covariance",
            loss=loss,
            penalised=penalised,
        )
    scores = service.scores(criterion, Measure(reference, distance))
    write_npz(output, ids=ids, scores=scores, pseudo_labels=service.pseudo_labels(), **paths)
    click.echo(json.dumps({"criterion": criterion, **service.diagnostics.to_json()}))
    names = [f"{sample} {path}" for sample, path in zip(ids, paths["paths"], strict=True)] if paths else ids
    best = ", ".join(f"{names[i]} ({scores[i]:.4g})" for i in np.argsort(-scores, kind="stable")[:5])
    click.echo(f"wrote {output}: {len(scores)} scores; highest: {best}")


@cli.command()
@click.argument("port", type=click.Path(path_type=Path))
@click.option("--example-shape", required=True, metavar="C,H,W[:DTYPE]", help="One input of the network.")
@click.option("--examples", type=EXAMPLES, required=True, help="Labelled images and candidates together.")
@click.option("--columns", type=EXAMPLES, help="Examples of the columns, for a rectangle.  [Θ(A, A)]")
@kernel_options
def explain(port: Path, example_shape: str, examples: int, columns: int | None, loader: str, **kernel: Any) -> None:
    """Show how the kernel of the network in PORT would be computed: every layer's method, work, memory and time.

    Nothing is computed but one matrix product, for this machine's speed.

    Example: linearize explain port --example-shape 1,28,28 --examples 1600 --memory-budget 4GiB
    """
    network = _load(loader, port)
    options = KernelOptions(**kernel)
    one = _example(example_shape)
    _probe(network, one[None], None)
    inputs = np.broadcast_to(one, (examples, *one.shape))
    other = None if columns is None else np.broadcast_to(one, (columns, *one.shape))
    click.echo(table(plan_ntk(network.apply_fn, network.variables, inputs, other, options)))


def _example(text: str) -> np.ndarray:
    """Make a blank input from ``C,H,W`` or ``C,H,W:DTYPE``."""
    sizes, _, dtype = text.partition(":")
    try:
        shape, kind = [int(size) for size in sizes.split(",")], np.dtype(dtype or "float32")
        if math.prod(shape) * kind.itemsize > available_memory():
            raise ValueError("more than memory holds")
        return np.zeros(shape, kind)
    except (TypeError, ValueError, MemoryError) as error:
        raise LinearizeError(
            f"--example-shape: expected sizes such as 3,32,32 or 16:int32, got {text!r} ({error})"
        ) from error


def _announce(plan: Plan) -> None:
    """Say what will be computed and in how much memory, before it is."""
    click.echo(plan.summary(), err=True)
    click.echo(f"this process: {shown(resident_memory())} now, up to about {shown(plan.process_peak())}", err=True)
    for line in fallbacks(plan):
        click.echo(line, err=True)


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """A bar with the time left on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("kernel"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("kernel", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _read_arrays(path: Path, *names: str) -> list[np.ndarray]:
    expected = f"{path}: expected an npz file with the numeric arrays {' and '.join(names)}"
    try:
        if missing := [name for name in names if name not in (there := array_names(path))]:
            raise LinearizeError(f"{expected}; it has {', '.join(there) or 'none'}, not {missing[0]}")
        arrays = list(read_arrays(path, names).values())
    except (OSError, ArchiveError) as error:
        raise LinearizeError(f"{expected}; cannot read it ({why(error)})") from error
    if not all(np.issubdtype(array.dtype, np.number) for array in arrays):
        raise LinearizeError(f"{expected}; got {', '.join(str(array.dtype) for array in arrays)}")
    return arrays


def _read_paths(pool: Path, n: int) -> dict[str, np.ndarray]:
    """Read what leads from the ids of a pool back to files or rows, where it has that."""
    with np.load(pool, allow_pickle=False) as file:
        try:
            paths = np.asarray(file["paths"]) if "paths" in file else None
        except ValueError as error:
            raise LinearizeError(f"{pool}: expected paths as text, got Python objects ({error})") from error
    if paths is None:
        return {}
    if paths.dtype.kind != "U" or paths.shape != (n,):
        raise LinearizeError(f"{pool}: expected a path of text for each of {n} ids, got {paths.dtype} {paths.shape}")
    return {"paths": paths}


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


def _probe(network: Any, X: np.ndarray, Y: np.ndarray | None) -> None:
    """Run one example, so that images of the wrong shape are named as such."""
    try:
        outputs = np.asarray(network.apply_fn(network.variables, X[:1]))
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise LinearizeError(f"the network does not take inputs {X.dtype}{list(X.shape[1:])}: {reason}") from error
    if Y is not None and Y.shape != (len(X), outputs.shape[-1]):
        raise LinearizeError(f"y: expected one-hot [{len(X)}, {outputs.shape[-1]}], got {list(Y.shape)}")


def main() -> None:
    """Entry point of the console script."""
    keep_compiled()
    cli(prog_name="linearize")
