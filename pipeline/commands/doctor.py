"""``pipeline doctor``."""

from pathlib import Path

import click

from pipeline.errors import RunFailedError


@click.command()
@click.option("--data-root", type=click.Path(path_type=Path), help="Directory in which to look for data sets.")
def doctor(data_root: Path | None) -> None:
    """Say what this machine offers: versions, devices, memory, data sets.

    Example: pipeline doctor --data-root data
    """
    from pipeline.doctor import examine

    findings = list(examine(data_root))
    for finding in findings:
        click.echo(f"{finding.state:<6} {finding.text}")
    if any(finding.state == "bad" for finding in findings):
        raise RunFailedError("something that a run needs is broken; see the lines marked bad")
