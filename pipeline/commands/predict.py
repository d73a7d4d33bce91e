"""``pipeline predict``."""

import sys
from pathlib import Path

import click

from pipeline.options import note, trust_code_option
from pipeline.places import check_file

MOST_LISTED = 100
"""Unreadable files that are named; the others are counted."""


@click.command()
@click.argument("model", metavar="RUN|MODEL", type=click.Path(path_type=Path))
@click.argument("samples", metavar="FOLDER|FILE.npz")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("predictions.csv"), show_default=True, help="A new file."
)
@trust_code_option
def predict(model: Path, samples: str, out: Path, trust_code: bool) -> None:
    """Use a trained network on new images, or on an archive of arrays: a table, the least sure first.

    MODEL is the folder 'model' of a run's products, which is all that is needed; of a RUN it is taken from there.  The
    network runs in JAX, from its port, without any code that the run named.

    Example: pipeline predict runs/photos/products/model new_photos/ --out new.csv
    """
    check_file(out, new=True)
    from pipeline.cli import keep_compiled
    from pipeline.interrupts import Interrupts
    from pipeline.products.predict import find_model, predict_new
    from pipeline.products.watching import watching

    keep_compiled()
    interrupts = Interrupts("interrupted; nothing was written")
    try:
        with interrupts, watching(interrupts.check) as progress:
            done = predict_new(
                find_model(model),
                samples,
                out,
                trust_code=trust_code,
                say=note,
                progress=lambda done, total: progress("predictions", done, total),
            )
    except KeyboardInterrupt:
        click.echo(interrupts.hint, err=True)
        sys.exit(interrupts.exit_code)
    for line in done.data.notes:
        note(line)
    bad = [*done.data.unreadable.items()]
    for name, reason in bad[:MOST_LISTED]:
        note(f"{name} cannot be read and is left out ({reason})")
    if more := bad[MOST_LISTED:]:
        note(f"{len(more):,} more cannot be read and are left out")
    about = done.about
    click.echo(f"{out}: {done.written:,} predictions by the network of cycle {about.cycle}, {about.labels:,} labels")
