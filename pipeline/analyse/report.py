"""What ``pipeline analyse dynamics`` writes and says."""

import math
from collections.abc import Iterator
from pathlib import Path

from pipeline.analyse.dynamics import Sizes
from pipeline.analyse.figures import draw_all
from pipeline.analyse.rows import Row, to_csv, values
from pipeline.errors import PipelineError
from pipeline.files import naming, write_atomically
from pipeline.places import check_place

NAME = "dynamics"


def destination(run: Path, out: Path | None, name: str = NAME) -> Path:
    """Return where the analysis goes, RUN/analysis/NAME unless said otherwise; nothing is made yet.

    Args:
        run: the run directory.
        out: what the user named, if anything.
        name: of the analysis.

    Raises:
        PipelineError: there is something else.

    """
    path = out or run / "analysis" / name
    if path.exists() and not path.is_dir():
        raise PipelineError(f"--out: expected a directory, but {path} is a file: name another")
    if path.is_dir() and not all(entry.name.lstrip(".").startswith(name) for entry in path.iterdir()):
        raise PipelineError(
            f"--out: expected a new directory or an earlier analysis, but {path} is neither: name another"
        )
    check_place(path)
    return path


def write(path: Path, rows: list[Row], cycle: int) -> None:
    """Write the table and the figures, each as a whole, after all of them are made.

    Args:
        path: where to.
        rows: what was measured.
        cycle: whose epochs and random queries were looked at.

    """
    write_all(path, NAME, list(draw_all(rows, cycle)), to_csv(rows))


def write_all(path: Path, analysis: str, drawn: list[tuple[str, bytes, bytes]], table: str) -> None:
    """Write an analysis's table and figures, each as a whole.

    Args:
        path: where to.
        analysis: its name, with which every file's begins.
        drawn: name, SVG and PNG of every figure.
        table: CSV.

    """
    with naming(path):
        path.mkdir(parents=True, exist_ok=True)
        for leftover in path.glob(".*.tmp-*"):  # of a process that was killed while it wrote
            leftover.unlink()
    for name, svg, png in drawn:
        write_atomically(path / f"{analysis}-{name}.svg", svg)
        write_atomically(path / f"{analysis}-{name}.png", png)
    write_atomically(path / f"{analysis}.csv", table)


def lines(rows: list[Row], sizes: Sizes) -> Iterator[str]:
    """Yield what a person reads.

    Args:
        rows: what was measured.
        sizes: how much was.

    """
    for cycle in dict.fromkeys(row.cycle for row in rows if row.part == "ratio"):
        last = max(row.epoch or 0 for row in rows if row.part == "ratio" and row.cycle == cycle)
        of = {"cycle": cycle, "epoch": last}
        [dynamics], [share] = values(rows, "training dynamics", **of), values(rows, "share of 2 g·G", **of)
        ratios = values(rows, "approximation ratio, mean", **of)
        shown = ", ".join(f"{spelled(r)} (b = {b})" for b, r in zip(sizes.batches, ratios, strict=True))
        yield f"cycle {cycle}: G(S) {dynamics:.3g}, 2 g·G is {spelled(share)} of ‖g‖²; approximation ratio {shown}"
    for row in rows:
        if row.part == "correlation":
            yield f"{row.quantity}: {spelled(row.value)} (f of the {row.outputs}, {row.labels} labels, b = {row.batch})"
    worst = [share for share in values(rows, "MMD / bound")[1:] if math.isfinite(share)]  # the first is 0 from itself
    if worst:
        yield (
            f"MMD / bound: at most {max(worst):.3g} over the labelled sets after the first; of a "
            "kernel twice as large it is twice as much, so it compares labelled sets, not networks"
        )
    if singular := sum(jitter > 0 for jitter in values(rows, "jitter")):
        yield f"bound: the kernel of {singular} labelled sets is singular to rounding and took a jitter, see the table"
    for part in ("theorem 1", "theorem 2", "theorem 2, tight"):
        held = values(rows, "holds", part=part)
        yield f"{part}: holds in {int(sum(held))} of {len(held)}"
    yield (
        f"kernel: {sizes.head} of the untrained network; f of the network is untrained too, of the regression "
        "Θ(·,X)Θ(X,X)⁻¹Y; ratios are of the run's own loss at its trained weights"
    )


def spelled(value: float) -> str:
    """Write a number, or that it is not defined."""
    return f"{value:.3g}" if math.isfinite(value) else "undefined"
