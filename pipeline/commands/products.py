"""``pipeline products``."""

import sys
from pathlib import Path

import click

from pipeline.options import note, trust_code_option
from pipeline.places import check_place, require_run


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write, replaced as a whole.  [RUN/products]")
@trust_code_option
def products(run: Path, out: Path | None, trust_code: bool) -> None:
    """Write what one takes away from a run: labels.csv, predictions.csv, the network, and a README.

    The run is only read: it may be finished, interrupted, waiting for labels or going on.  Before the first training
    there are labels alone.

    Example: pipeline products runs/photos-cnn-margin-influence-greedy-seed0
    """
    require_run(run)
    check_place(out or run)
    from pipeline.cli import keep_compiled
    from pipeline.interrupts import Interrupts
    from pipeline.products.make import PRODUCTS, make_products
    from pipeline.products.watching import watching
    from pipeline.run.context import load_data
    from pipeline.run.recorded import confirm_code, named_code
    from pipeline.run.rundir import check_unchanged, read_config, read_events

    keep_compiled()
    interrupts = Interrupts("interrupted; products that were there before are as they were")
    try:
        with interrupts, watching(interrupts.check) as progress:
            config, events = read_config(run), read_events(run)
            codes = [code for code in named_code(config) if code.target == config.data.backbone]  # reading data runs it
            confirm_code(run, codes, trust_code, note, events[0] if events else None)
            progress("data", 0, 1)
            data = load_data(config, run=run)
            if events:
                check_unchanged(events[0], config, data.fingerprint())
            files = make_products(run, data, out, trust_code=trust_code, say=note, progress=progress)
    except KeyboardInterrupt:
        click.echo(interrupts.hint, err=True)
        sys.exit(interrupts.exit_code)
    for name in files:
        click.echo(out / name if out else run / PRODUCTS / name)
