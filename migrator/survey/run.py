"""Architectures one by one, each in a process of its own: its memory is returned and its failure ends no other.

A row is written when it is done; a survey that was stopped goes on where it ended. The processes are forked from one
that has imported what all of them need, and computed nothing.
"""

from __future__ import annotations

import importlib
import math
import multiprocessing
import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrator.errors import MigratorError
from migrator.survey.table import STOPPED, Row, Table

if TYPE_CHECKING:
    from migrator.report import Report

PACKAGES = ("torchvision", "timm", "transformers")
PRELOADED = ["migrator.survey.child"]
NTK_EXAMPLES = 2
LARGE = 200_000_000
"""Parameters above which one example's gradient in float64 on each side is what 24 GiB hold."""

SEED = 0


def _of(package: str) -> Any:
    return importlib.import_module(f"migrator.survey.of_{package}")


def architectures(pattern: str = "*", package: str = "torchvision") -> list[str]:
    """Return the names of a package's architectures that match a shell pattern such as ``resnet*``.

    Args:
        pattern: a shell pattern of names.
        package: one of ``PACKAGES``.

    Raises:
        MigratorError: the package is not installed, or nothing matches.

    """
    every = _of(package).names()
    names = [name for name in every if fnmatchcase(name, pattern)]
    if not names:
        raise MigratorError(f"no architecture matches {pattern!r}; {package} has {', '.join(every)}")
    return names


def survey(
    names: list[str], path: Path, input_size: int | None, limit: float | None, package: str = "torchvision"
) -> Iterator[Row]:
    """Measure each architecture that the table does not have yet, and add its row in alphabetical order.

    Args:
        names: of ``architectures``.
        path: the table, made where it does not exist.
        input_size: side of the images; where torch itself cannot run on it, the architecture's own.
        limit: seconds for each architecture, after which it is stopped and left for another time.
        package: one of ``PACKAGES``.

    Yields:
        Each new row, after it was written.

    Raises:
        PathTaken: the file exists and is not such a table.

    """
    table = Table(path)
    done = table.names(package)
    for name in names:
        if name not in done:
            row = isolated(package, name, input_size, limit)
            table.add(package, _of(package).HOW, row)
            yield row


def isolated(package: str, name: str, input_size: int | None, limit: float | None) -> Row:
    """Return the row of one architecture, measured in a process of its own.

    Args:
        package: one of ``PACKAGES``.
        name: of ``architectures``.
        input_size: as for ``survey``.
        limit: likewise.

    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, f"migrator.survey.of_{package}"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure_into, args=(theirs, package, name, input_size))
    process.start()
    theirs.close()
    try:
        if not ours.poll(limit):
            return Row(name, outcome=f"{STOPPED}not done within {limit:g} s")
        return ours.recv()
    except EOFError:
        process.join()
        return Row(name, outcome=f"{STOPPED}process ended with {process.exitcode}; was memory short?")
    finally:
        process.kill()
        process.join()
        ours.close()


def _measure_into(connection: Connection, package: str, name: str, input_size: int | None) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # packages print what they think of their own settings
        os.dup2(silence, stream)
    connection.send(measure(name, input_size, package))


def measure(name: str, input_size: int | None = None, package: str = "torchvision") -> Row:
    """Port and verify one architecture in this process.

    Args:
        name: of ``architectures``.
        input_size: as for ``survey``.
        package: one of ``PACKAGES``.

    Returns:
        The row; an error that the architecture met is its outcome.

    """
    import torch

    from migrator.convert import migrate
    from migrator.verify import verify

    torch.manual_seed(SEED)
    size = count = 0
    try:
        module, inputs, size = _of(package).build(name, input_size)
        count = sum(value.numel() for value in module.parameters() if value.requires_grad)
        migrated = migrate(module, tuple(torch.from_numpy(value[:2]) for value in inputs))
        report = verify(module, migrated, inputs, ntk_examples=1 if count > LARGE else NTK_EXAMPLES)
    except Exception as error:  # whatever happens to one architecture belongs into its row
        return Row(name, size, count, outcome=f"{type(error).__name__}: {error}")
    return Row(
        name=name,
        input_size=size,
        parameters=report.parameters,
        operators=len({node.op for node in migrated.graph.nodes}),
        seconds=report.seconds["migrate"],
        float64=_worst(report, "float64 output"),
        float32=_worst(report, "float32 output"),
        gradients=_worst(report, "gradient of each parameter"),
        kernel=_worst(report, "tangent kernel"),
    )


def _worst(report: Report, kind: str) -> float:
    return max((check.value for check in report.checks if check.name.startswith(kind)), default=math.nan)
