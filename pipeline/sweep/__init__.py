"""Strategies against one another: a grid of ordinary runs, computed here or on a Ray cluster."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.sweep.engine import EngineOptions
    from pipeline.sweep.grid import Grid
    from pipeline.sweep.session import Outcome


def run_grid(
    grid: "Grid", out: Path, options: "EngineOptions | None" = None, trust_code: bool = False
) -> "list[Outcome]":
    """Compute every cell of a grid that is not finished; see ``pipeline.sweep.session.run_grid``.

    Args:
        grid: the comparison.
        out: the grid's directory.
        options: how the cells are computed.
        trust_code: whether strategies that only the directory names may run, though they are not built in.

    """
    from pipeline.sweep.session import run_grid as compute  # imports torch and jax, which a Ray worker does without

    return compute(grid, out, options, trust_code)
