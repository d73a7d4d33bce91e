"""``pipeline fork``."""

import shlex
from pathlib import Path

import click

from pipeline.options import note, trust_code_option
from pipeline.places import check_place, require_run


@click.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--at-cycle", type=click.IntRange(min=0), required=True, help="The first cycle that is done anew.")
@click.option("--set", "sets", multiple=True, required=True, metavar="A.B=C", help="Set any field.")
@click.option("--out", type=click.Path(path_type=Path), help="Run directory to make.  [RUN-fork]")
@trust_code_option
def fork(run_directory: Path, at_cycle: int, sets: tuple[str, ...], out: Path | None, trust_code: bool) -> None:
    """Let a run that failed go on as a new one, with other settings, from the beginning of a cycle.

    Labels, questions and networks of the cycles before are kept, and the new log says where they come from.  RUN is
    not changed.

    Example: pipeline fork runs/mnist --at-cycle 3 --set train.max_lr=0.05 --out runs/mnist-slower
    """
    require_run(run_directory)
    out = out or run_directory.with_name(f"{run_directory.resolve().name}-fork")
    from pipeline.errors import PipelineError
    from pipeline.run.creating import refuse_taken
    from pipeline.run.fork import fork as make
    from pipeline.run.reading import read_begun, read_config
    from pipeline.run.recorded import confirm_recorded, named_code

    refuse_taken(out)
    check_place(out)
    config, events = read_config(run_directory), read_begun(run_directory)
    if not events:
        raise PipelineError(f"{run_directory} has not begun: nothing is there to go on from")
    confirm_recorded(run_directory, config, events, trust_code, note)
    made = make(run_directory, config, events, at_cycle, sets, out)
    click.echo(f"{out}: begins at cycle {at_cycle} with {made.labels} labels and {made.networks} earlier networks")
    click.echo(f"changed: {'; '.join(made.changed)}")
    trust = " --trust-code" if named_code(read_config(out)) else ""
    click.echo(f"go on with: pipeline resume {shlex.quote(str(out))}{trust}")
