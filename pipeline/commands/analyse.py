"""``pipeline analyse``: papers' figures on a run's own networks and labels."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.errors import PipelineError
from pipeline.options import note, trust_code_option
from pipeline.places import require_run

if TYPE_CHECKING:
    from pipeline.analyse.opening import OpenedRun


@contextmanager
def _opened(run: Path, trust_code: bool) -> Iterator[tuple["OpenedRun", Callable[[str, int, int], None]]]:
    """Open a run to be read, computing as it did; an interruption ends the command in one line."""
    from pipeline.analyse.console import watched
    from pipeline.analyse.opening import OpenedRun
    from pipeline.cli import keep_compiled
    from pipeline.interrupts import Interrupts
    from trainer.threads import with_threads

    keep_compiled()
    interrupts = Interrupts("interrupted; nothing was written")
    try:
        with interrupts, watched(interrupts.check) as progress:
            opened = OpenedRun.of(run, trust_code, note)
            with with_threads(opened.threads):
                yield opened, progress
    except KeyboardInterrupt:
        click.echo(interrupts.hint, err=True)
        sys.exit(interrupts.exit_code)


@click.group()
def analyse() -> None:
    """Look at a run's networks and labels afterwards, by what a paper measures.

    Example: pipeline analyse dynamics runs/digits-cnn-dynamical-seed0
    """


@analyse.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--cycle", type=int, default=0, help="Whose kept epochs and labelled set are looked at closely.  [0]")
@click.option("--sample", type=click.IntRange(min=2), default=400, help="Images of the pool, drawn uniformly.  [400]")
@click.option("--draws", type=click.IntRange(min=1), default=150, help="Random queries of each size.  [150]")
@click.option("--batches", default="10,25,100", help="Sizes of queries for the approximation ratio.  [10,25,100]")
@click.option(
    "--query", type=click.IntRange(min=1), help="Size of those compared with alignment.  [half the labelled set]"
)
@click.option(
    "--kernel",
    "head",
    type=click.Choice(["trace", "sum-of-logits", "single-logit"]),
    default="trace",
    help="The scalar kernel of the theory.  [trace]",
)
@click.option("--out", type=click.Path(path_type=Path), help="Directory to write to.  [RUN/analysis/dynamics]")
@trust_code_option
def dynamics(
    run: Path,
    cycle: int,
    sample: int,
    draws: int,
    batches: str,
    query: int | None,
    head: str,
    out: Path | None,
    trust_code: bool,
) -> None:
    """Measure what dynamicAL's theory is about: ratio, alignment, bound, MMD and two theorems, as CSV and figures.

    The approximation ratio is that of the run's own loss, at the end of every cycle and at the epochs of --cycle that
    train.keep_epochs kept.  The rest is of the kernel of the network before training.  The run is only read.

    Example: pipeline analyse dynamics runs/digits-cnn-dynamical-seed0 --draws 50
    """
    require_run(run)
    numbers = _sizes(batches)
    from pipeline.analyse.dynamics import Sizes, measure
    from pipeline.analyse.report import destination, lines, write

    sizes = Sizes(cycle, sample, draws, numbers, query, head)
    path = destination(run, out)
    with _opened(run, trust_code) as (opened, progress):
        rows = measure(opened, sizes, progress)
        write(path, rows, cycle)
    for line in lines(rows, sizes):
        click.echo(line)
    click.echo(f"analysis {path}")


def _sizes(text: str, flag: str = "--batches", such: str = "10,25,100") -> tuple[int, ...]:
    """Return sizes written with commas, each once."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise PipelineError(f"{flag}: expected sizes with commas, such as {such}, got {text!r}")
    return tuple(dict.fromkeys(int(part) for part in parts))


@analyse.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--cycle", type=int, default=0, help="Whose network scores what is then trained on.  [0]")
@click.option("--sample", type=click.IntRange(min=2), default=400, help="Images of the pool, drawn uniformly.  [400]")
@click.option("--groups", default="1,2,5,10", help="Sizes of groups.  [1,2,5,10]")
@click.option(
    "--trainings", type=click.IntRange(min=0), default=20, help="Random groups that a network is trained with.  [20]"
)
@click.option("--seeds", type=click.IntRange(min=0), default=3, help="Networks of other seeds for each query.  [3]")
@click.option("--last-only", is_flag=True, help="Leave out the kernel of all layers.")
@click.option("--plane", is_flag=True, help="Draw the illustration on two half moons too.")
@click.option("--out", type=click.Path(path_type=Path), help="Directory to write to.  [RUN/analysis/convergence]")
@trust_code_option
def convergence(
    run: Path,
    cycle: int,
    sample: int,
    groups: str,
    trainings: int,
    seeds: int,
    last_only: bool,
    plane: bool,
    out: Path | None,
    trust_code: bool,
) -> None:
    """Measure what convergence rate control is about: scores, epochs, transfer, tables 1 and 2, as CSV and figures.

    Scores are those of random groups by the run's own networks. For the rest networks are trained, with labels of the
    data that the run had not asked for: --trainings 0 --seeds 0 leaves that out. The run is only read.

    Example: pipeline analyse convergence runs/digits-cnn-crc-seed0 --trainings 10
    """
    require_run(run)
    numbers = _sizes(groups, "--groups", "1,2,5,10")
    from pipeline.analyse import plane as moons
    from pipeline.analyse.convergence import Found, Sizes, measure
    from pipeline.analyse.convergence_report import NAME, draw_all, lines
    from pipeline.analyse.report import destination, write_all
    from pipeline.analyse.rows import to_csv
    from pipeline.report.figures import rendered

    sizes = Sizes(cycle, sample, numbers, trainings, seeds, not last_only)
    path = destination(run, out, NAME)
    with _opened(run, trust_code) as (opened, progress):
        rows = measure(opened, sizes, progress)
        drawn = list(draw_all(rows))
        if plane:
            drawn.append(("plane", *rendered(moons.draw(*moons.illustrate()))))
        write_all(path, NAME, drawn, to_csv(rows, Found))
    for line in lines(rows):
        click.echo(line)
    click.echo(f"analysis {path}")
