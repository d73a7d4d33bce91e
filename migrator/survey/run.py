"""Every classification architecture of torchvision, ported and verified: a table with one row each.

Each architecture runs in a process of its own, so its memory is returned and its failure ends no other. A row is
written when it is done; a survey that was stopped goes on where it ended.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.files import write_bytes
from migrator.errors import MigratorError, PathTaken

if TYPE_CHECKING:
    from torch import nn

    from migrator.report import Report

TITLES = (
    "architecture",
    "input",
    "parameters",
    "operators",
    "seconds to convert",
    "float64",
    "float32",
    "gradients",
    "kernel",
    "outcome",
)
HEADER = f"| {' | '.join(TITLES)} |\n|{' --- |' * len(TITLES)}\n"
PREAMBLE = (
    "# Architectures of torchvision, ported to Flax\n\n"
    "Random weights, randomised batch-norm statistics. Differences from torch are relative: outputs in float64,\n"
    "outputs in float32 against torch in float64, the gradient of each parameter and a block of the tangent kernel,\n"
    "both in float64.\n\n"
)
EXAMPLES = 5
NTK_EXAMPLES = 2
LARGE = 200_000_000
"""Parameters above which one example's gradient in float64 on each side is what 24 GiB hold."""

NATIVE = 224
SEED = 0
DISTURBANCE = 0.1
STOPPED = "stopped: "
"""How the outcome begins of an architecture that was not decided; it is tried again."""


@dataclass(frozen=True)
class Row:
    """What came out for one architecture; NaN where it did not get so far.

    Args:
        name: torchvision's name.
        input_size: side of the images.
        parameters: number of trainable numbers.
        operators: number of different ones.
        seconds: that the migration took.
        float64: largest relative difference of outputs in float64.
        float32: in float32.
        gradients: of the gradient of any parameter.
        kernel: of the block of the tangent kernel.
        outcome: ``ok``, the error that was met, or why it was stopped.

    """

    name: str
    input_size: int = 0
    parameters: int = 0
    operators: int = 0
    seconds: float = math.nan
    float64: float = math.nan
    float32: float = math.nan
    gradients: float = math.nan
    kernel: float = math.nan
    outcome: str = "ok"

    def __str__(self) -> str:
        return f"| {' | '.join(_cell(value) for value in astuple(self))} |"


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return " ".join(value.split()).replace("|", "\\|")
    if isinstance(value, int):
        return f"{value:,}" if value else "–"
    return "–" if math.isnan(value) else f"{value:.3g}"


def architectures(pattern: str = "*") -> list[str]:
    """Return the names of torchvision's classification architectures that match a shell pattern such as ``resnet*``.

    Args:
        pattern: a shell pattern of names.

    Raises:
        MigratorError: torchvision is not installed, or nothing matches.

    """
    try:
        from torchvision import models
    except ImportError as error:
        raise MigratorError("a survey needs torchvision; install it beside torch") from error
    every = models.list_models(module=models)
    names = [name for name in every if fnmatchcase(name, pattern)]
    if not names:
        raise MigratorError(f"no architecture matches {pattern!r}; torchvision has {', '.join(every)}")
    return names


def survey(names: list[str], path: Path, input_size: int | None, limit: float | None) -> Iterator[Row]:
    """Measure each architecture that the table does not have yet, and add its row in alphabetical order.

    Args:
        names: of ``architectures``.
        path: the table, made where it does not exist.
        input_size: side of the images; where torch itself cannot run on it, and by default, the architecture's own.
        limit: seconds for each architecture, after which it is stopped and left for another time.

    Yields:
        Each new row, after it was written.

    Raises:
        PathTaken: the file exists and is not such a table.

    """
    lines = _resume(path)
    _write(path, lines)
    for name in names:
        if name not in lines:
            row = _isolated(name, input_size, limit)
            lines[name] = f"{row}\n"
            _write(path, lines)
            yield row


def _write(path: Path, lines: dict[str, str]) -> None:
    write_bytes(path, (PREAMBLE + HEADER + "".join(lines[name] for name in sorted(lines))).encode())


def _resume(path: Path) -> dict[str, str]:
    """Name -> line of the rows that stay; unfinished lines and undecided rows are dropped."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    if not text.startswith(PREAMBLE + HEADER):
        raise PathTaken(f"{path} exists and is not a table of `migrator survey`; choose another file")
    lines = text[len(PREAMBLE + HEADER) :].splitlines(keepends=True)
    kept = (line for line in lines if line.endswith("|\n") and f"| {STOPPED}" not in line)
    return {line.split("|")[1].strip(): line for line in kept}


def _isolated(name: str, input_size: int | None, limit: float | None) -> Row:
    command = [sys.executable, "-m", "migrator.survey", name, str(input_size or 0)]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return Row(name, outcome=f"{STOPPED}not done within {limit:g} s")
    if process.returncode:
        lines = process.stderr.strip().splitlines() or ["no message; was memory short?"]
        return Row(name, outcome=f"{STOPPED}process ended with {process.returncode}: {lines[-1]}")
    return Row(**json.loads(process.stdout.splitlines()[-1]))


def measure(name: str, input_size: int | None = None) -> Row:
    """Port and verify one architecture in this process.

    Args:
        name: of ``architectures``.
        input_size: as for ``survey``.

    Returns:
        The row; an error that the architecture met is its outcome.

    """
    import torch

    from migrator.convert import migrate
    from migrator.verify import verify

    torch.manual_seed(SEED)
    module = build(name)
    side = _side(name, module, input_size)
    images = np.random.default_rng(SEED).standard_normal((EXAMPLES, 3, side, side)).astype(np.float32)
    count = sum(value.numel() for value in module.parameters() if value.requires_grad)
    try:
        migrated = migrate(module, (torch.zeros(2, 3, side, side),))
        report = verify(module, migrated, images, ntk_examples=1 if count > LARGE else NTK_EXAMPLES)
    except Exception as error:  # whatever happens to one architecture belongs into its row
        return Row(name, side, count, outcome=f"{type(error).__name__}: {error}")
    return Row(
        name=name,
        input_size=side,
        parameters=report.parameters,
        operators=len({node.op for node in migrated.graph.nodes}),
        seconds=report.seconds["migrate"],
        float64=_worst(report, "float64 output"),
        float32=_worst(report, "float32 output"),
        gradients=_worst(report, "gradient of each parameter"),
        kernel=_worst(report, "tangent kernel"),
    )


def _worst(report: Report, kind: str) -> float:
    return max(check.value for check in report.checks if check.name.startswith(kind))


def build(name: str) -> nn.Module:
    """Return an architecture with random weights, and batch-norm statistics as after a training, in evaluation mode.

    What torchvision sets to a constant is disturbed: a head of zeros, or a layer scale of 1e-6, would hide differences.
    """
    import torch
    from torchvision import models

    settings = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    module = models.get_model(name, weights=None, **settings)
    with torch.no_grad():
        for value in module.parameters():
            if bool((value == value.flatten()[0]).all()):
                value.add_(torch.randn_like(value), alpha=DISTURBANCE)
        for key, buffer in module.named_buffers():
            if key.endswith("running_mean"):
                buffer.normal_(0, DISTURBANCE)
            elif key.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return module.eval()


def _side(name: str, module: nn.Module, wanted: int | None) -> int:
    """The wanted side of the images where torch can run on it, else the architecture's own."""
    import torch
    from torchvision import models

    preset = models.get_model_weights(name)["DEFAULT"].transforms
    crop = getattr(preset, "keywords", {}).get("crop_size", NATIVE)
    native = int(getattr(module, "image_size", crop))  # a vision transformer's positions fix its size
    if wanted is None:
        return native
    try:
        with torch.no_grad():
            module(torch.zeros(1, 3, wanted, wanted))
    except Exception:  # torchvision's networks refuse a size in many ways, assertions among them
        return native
    return wanted


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(measure(sys.argv[1], int(sys.argv[2]) or None))) + "\n")
