"""``pipeline stage``."""

import shutil
import tempfile
from pathlib import Path

import click

from pipeline.errors import PipelineError, RunFailedError
from pipeline.options import note, trust_code_option
from pipeline.places import check_place, require_run


@click.command()
@click.argument("name", metavar="STAGE", type=click.Choice(["train", "migrate", "score", "select"]))
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--cycle", type=click.IntRange(min=0), required=True, help="Number of the cycle.")
@click.option("--out", type=click.Path(path_type=Path), help="Directory to make for the output.  [a temporary one]")
@trust_code_option
def stage(name: str, run_directory: Path, cycle: int, out: Path | None, trust_code: bool) -> None:
    """Re-run one STAGE of a run from what is on disk; the run itself is not changed.

    Example: pipeline stage score runs/digits-cnn-margin-influence-sequential-seed0 --cycle 2
    """
    require_run(run_directory)
    if out is not None and out.exists():
        raise PipelineError(f"--out: expected a new directory, but {out} exists: name another")
    if out is not None and not out.resolve().parent.is_dir():
        raise PipelineError(f"--out: expected a directory in an existing one, but {out.parent} does not exist")
    if out is not None and out.resolve().is_relative_to(run_directory.resolve()):
        raise PipelineError(f"--out: expected a directory outside of the run, which is never changed; got {out}")
    if out is not None:
        check_place(out)
    from pipeline.cli import keep_compiled
    from pipeline.interrupts import Interrupts
    from pipeline.run.rerun import rerun

    keep_compiled()
    into = out or Path(tempfile.mkdtemp(prefix=f"{name}-"))
    into.mkdir(exist_ok=True)
    try:
        with Interrupts("interrupted"):
            done = rerun(run_directory, name, cycle, into, trust_code, note)
    except BaseException:
        shutil.rmtree(into)
        raise
    for path in done.read:
        click.echo(f"read  {path}")
    for path in done.wrote:
        click.echo(f"wrote {path}")
    verdict = {True: "equals the run's own", False: "DIFFERS from the run's own", None: "the run has none to compare"}
    click.echo(f"result: {verdict[done.same]}")
    if done.same is False:
        raise RunFailedError("the same inputs gave another result: is this another machine or another version?")
