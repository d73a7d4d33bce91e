"""``pipeline verify``."""

from pathlib import Path

import click

from pipeline.errors import RunFailedError
from pipeline.options import note, trust_code_option
from pipeline.places import require_run


@click.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@trust_code_option
def verify(run_directory: Path, trust_code: bool) -> None:
    """Check a run: every hash, binding and number of its record, its stages and what was derived from them.

    One line per fault, and exit code 1 where there is any.  Nothing is changed.  Test accuracies are computed again
    from the weights; a network of your own runs for that with --trust-code alone.

    Example: pipeline verify runs/digits-cnn-margin-influence-sequential-seed0
    """
    require_run(run_directory)
    from pipeline.sweep.summary import counted
    from pipeline.verify.run import verify as check

    found = check(run_directory, trust_code=trust_code, say=note)
    for line in found.notes:
        note(line)
    for line in found.faults:
        click.echo(f"FAULT {line}")
    looked = ", ".join(counted(number, what.removesuffix("s")) for what, number in found.checked.items())
    if found.faults:
        raise RunFailedError(f"{run_directory}: {counted(len(found.faults), 'fault')}; checked: {looked or 'nothing'}")
    click.echo(f"{run_directory}: no fault in {looked or 'a run that has not begun'}")
