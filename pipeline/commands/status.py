"""``pipeline status``."""

import json
from pathlib import Path

import click

from pipeline.places import require_run


@click.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As one JSON object, for scripts.")
def status(run_directory: Path, as_json: bool) -> None:
    """Say where a run stands: cycle and stage, labels, who holds it, what it waits for, its last error, what to do.

    Nothing is changed.  'pipeline verify' checks it.

    Example: pipeline status runs/digits-cnn-margin-influence-sequential-seed0
    """
    require_run(run_directory)
    from pipeline.run.reading import read_begun, read_config
    from pipeline.run.status import plain, read_status

    found = read_status(run_directory, read_config(run_directory), read_begun(run_directory))
    if as_json:
        click.echo(json.dumps(plain(found)))
        return
    for name, text in found.lines:
        click.echo(f"{name:<11} {text}")
