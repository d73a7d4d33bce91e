"""``pipeline export``."""

import itertools
import shlex
from pathlib import Path

import click

from pipeline.errors import PipelineError
from pipeline.options import note
from pipeline.places import check_file, check_place, require_run

TABLE = "table"
FORMATS = (TABLE, "label-studio", "cvat", "fiftyone", "imagefolder")
"""As of ``pipeline.handoff.registry``, which takes seconds to import."""


@click.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--format", "format_", type=click.Choice(FORMATS), default=TABLE, show_default=True, help="Whose files.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="File to write, of other formats the folder to make.  [to_label.csv in RUN, or RUN/FORMAT]",
)
@click.option("--predictions", is_flag=True, help="Show what the network predicts (label-studio); it sways people.")
@click.option(
    "--image-root",
    type=click.Path(path_type=Path),
    help="Folder from which Label Studio serves files: use the images there, without copies.",
)
def export(run_directory: Path, format_: str, out: Path | None, predictions: bool, image_root: Path | None) -> None:
    """Write what a run asks for as a table, or for a labelling tool: 'pipeline ingest' takes the answers in.

    In the table fill in the column 'label', or 'status' with 'skipped'.

    Example: pipeline export runs/photos-cnn-margin-influence-greedy-seed0 --out to_label.csv
    """
    require_run(run_directory)
    if format_ != "label-studio" and (predictions or image_root is not None):
        option = "--predictions" if predictions else "--image-root"
        raise PipelineError(f"{option}: expected with --format label-studio alone, got --format {format_}")
    from pipeline.handoff.base import Asked
    from pipeline.handoff.registry import HANDOFFS
    from pipeline.labelling import open_questions, open_round, predicted
    from pipeline.run.context import load_data
    from pipeline.run.pool import Pool
    from pipeline.run.rundir import read_config, read_events

    config = read_config(run_directory)
    path = out or (run_directory / "to_label.csv" if format_ == TABLE else _fresh(run_directory / format_))
    if format_ == TABLE:
        check_file(path)
    else:
        _check_folder(path)
    data = load_data(config, run=run_directory, features=False)
    events = read_events(run_directory)
    pool = Pool(len(data.train), events)
    round_, samples = open_round(pool), tuple(open_questions(pool))
    classes = (*data.classes, *pool.added_classes)
    guesses = predicted(run_directory, events, round_, classes) if predictions else {}
    if predictions and not guesses:
        note("no network has scored these samples: there are no predictions")
    asked = Asked(str(events[0]["run_id"]), round_, samples, classes, data, guesses, image_root)
    steps = HANDOFFS[format_].write(asked, path)
    click.echo(f"{path}: {len(samples)} samples to label as one of {', '.join(classes)}")
    for number, step in enumerate(steps, start=1):
        click.echo(f"{number}. {step}")
    if steps:
        back = shlex.quote(str(path)) if format_ == "imagefolder" else "EXPORTED"
        click.echo(f"{len(steps) + 1}. pipeline ingest {shlex.quote(str(run_directory))} {back}")


def _fresh(path: Path) -> Path:
    """Return a folder that is not there yet, for each round gets one of its own."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(one for one in itertools.chain([path], numbered) if not one.exists())


def _check_folder(path: Path) -> None:
    check_place(path)
    if path.exists() and any(path.iterdir()):
        raise PipelineError(f"--out: expected a new or an empty folder, but there are files in {path}: name another")
