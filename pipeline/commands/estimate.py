"""``pipeline estimate``."""

from pathlib import Path
from typing import Any

import click

from pipeline.errors import PipelineError
from pipeline.options import config_from, note, run_options, trust_code_option


@click.command()
@run_options()
@trust_code_option
def estimate(trust_code: bool, config_file: Path | None, sets: tuple[str, ...], **options: Any) -> None:
    """Say what a run with these options would take: time, memory and disk.  Nothing of it is kept.

    The first and the last query are done for real in a temporary directory.  'pipeline compare --dry-run' does it for
    a comparison.

    Example: pipeline estimate --dataset mnist --data-root data --model cnn --n-init 100 --cycles 8
    """
    from pipeline.run.recorded import named_code
    from pipeline.sweep.one_run import estimate as measured

    config = config_from(config_file, sets, options, trust_code)
    if config.paged:
        raise PipelineError("annotator: expected simulated or files; on a page a run has no end")
    trusted = bool(named_code(config))  # the command named it, or the file, which is trusted by now
    for line in measured(config, Path.cwd(), trust_code=trusted, say=note):
        click.echo(line)
