"""The table of a survey: a section for each package, a row for each architecture, written whole after each."""

from __future__ import annotations

import math
import re
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from common.files import write_bytes
from migrator.errors import PathTaken

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
    "# Architectures ported to Flax\n\n"
    "Random weights, randomised batch-norm statistics. Differences from torch are relative: outputs in float64,\n"
    "outputs in float32 against torch in float64, the gradient of each parameter and a block of the tangent kernel,\n"
    "both in float64.\n"
)
STOPPED = "stopped: "
"""How the outcome begins of an architecture that was not decided; it is tried again."""


@dataclass(frozen=True)
class Row:
    """What came out for one architecture; NaN where it did not get so far.

    Args:
        name: the package's name.
        input_size: side of the images, or length of the texts.
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


class Table:
    """The rows of a file, by package and name; unfinished lines and undecided rows of an older survey are dropped.

    Args:
        path: the file, made at the first row where it does not exist.

    Raises:
        PathTaken: the file exists and is not such a table.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sections: dict[str, tuple[str, dict[str, str]]] = {}
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            return
        text = path.read_text(encoding="utf-8", errors="replace")
        if not text.startswith(PREAMBLE):
            raise PathTaken(f"{path} exists and is not a table of `migrator survey`; choose another file")
        for part in text[len(PREAMBLE) :].split("\n## ")[1:]:
            package, _, rest = part.partition("\n\n")
            how, _, rows = rest.partition(f"\n\n{HEADER}")
            self.sections[package] = (how, _finished(rows))

    def names(self, package: str) -> set[str]:
        """Return which architectures of a package have a row."""
        return set(self.sections.get(package, ("", {}))[1])

    def add(self, package: str, how: str, row: Row) -> None:
        """Add a row in alphabetical order, and write the file.

        Args:
            package: of which section.
            how: what is said above that section.
            row: the new one.

        """
        _, lines = self.sections.get(package, ("", {}))
        self.sections[package] = (how, lines | {row.name: f"{row}\n"})
        self.write()

    def write(self) -> None:
        """Write the file, whole or not at all."""
        parts = [
            f"\n## {package}\n\n{how}\n\n{HEADER}{''.join(lines[name] for name in sorted(lines))}"
            for package, (how, lines) in self.sections.items()
        ]
        write_bytes(self.path, (PREAMBLE + "".join(parts)).encode())


def _finished(rows: str) -> dict[str, str]:
    kept = (line for line in rows.splitlines(keepends=True) if line.endswith("|\n") and f"| {STOPPED}" not in line)
    return {re.split(r"\s*\|\s*", line)[1]: line for line in kept}
