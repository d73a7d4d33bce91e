"""``pipeline fidelity``: how far look-ahead can be trusted on a run."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.options import note, trust_code_option
from pipeline.places import require_run

if TYPE_CHECKING:
    from pipeline.fidelity.measure import Labels


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--cycle", type=int, required=True, help="Number of the cycle; any but the last.")
@click.option("--candidates", type=int, default=30, help="How many to retrain with.  [30]")
@click.option(
    "--labels",
    type=click.Choice(["predicted", "true"]),
    default="predicted",
    help="Labels to retrain with: the network's own guess, or the data set's.  [predicted]",
)
@click.option("--repeats", type=click.IntRange(min=1), default=1, help="SGD seeds averaged in each retraining.  [1]")
@click.option("--infinite", is_flag=True, help="Compare infinite and gp as well (needs neural-tangents).")
@click.option("--out", type=click.Path(path_type=Path), help="Directory to write to.  [RUN/fidelity/cycle-NNN]")
@trust_code_option
def fidelity(
    run: Path,
    cycle: int,
    candidates: int,
    labels: "Labels",
    repeats: int,
    infinite: bool,
    out: Path | None,
    trust_code: bool,
) -> None:
    """Really retrain a cycle's network with each of some candidates added, and compare with what was predicted.

    The run is only read; it may still be going on.  Says in one sentence whether to trust look-ahead's ranking here,
    and which measured cause to mend where it is poor.

    Example: pipeline fidelity runs/digits-cnn-margin-influence-sequential-seed0 --cycle 0
    """
    require_run(run)
    from pipeline.cli import keep_compiled
    from pipeline.fidelity.console import FidelityConsole
    from pipeline.fidelity.measure import measure
    from pipeline.fidelity.report import destination, lines, write
    from pipeline.fidelity.setting import open_setting
    from pipeline.interrupts import Interrupts
    from trainer.threads import with_threads

    keep_compiled()
    path = destination(run, cycle, out)
    interrupts = Interrupts("interrupted; nothing was written")
    try:
        with interrupts, FidelityConsole(interrupts.check) as console:
            setting = open_setting(run, cycle, candidates, console, infinite=infinite, trust_code=trust_code, say=note)
            with with_threads(setting.threads):
                measured = measure(setting, candidates, labels, repeats, console)
            write(path, setting, measured, labels, repeats)
    except KeyboardInterrupt:
        click.echo(interrupts.hint, err=True)
        sys.exit(interrupts.exit_code)
    for line in lines(setting, measured, repeats):
        click.echo(line)
    click.echo(f"report {path}")
