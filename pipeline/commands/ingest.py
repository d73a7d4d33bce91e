"""``pipeline ingest``."""

from pathlib import Path

import click

from pipeline.commands.export import FORMATS
from pipeline.errors import PipelineError
from pipeline.options import note
from pipeline.places import require_run


@click.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--format", "format_", type=click.Choice(FORMATS), help="Whose file it is.  [as its content says]")
@click.option("--annotator", help="Who answered, where the file does not say.  [files]")
@click.option("--close", is_flag=True, help="End the round although samples are left; their labels may come later.")
@click.option("--new-classes", is_flag=True, help="Let labels that are no class yet become classes.")
def ingest(
    run_directory: Path, file: Path, format_: str | None, annotator: str | None, close: bool, new_classes: bool
) -> None:
    """Take a FILE of labels into a run that waits for them: all of its rows, or none where one is wrong.

    A row without a label is not answered.  The same file again changes nothing.  FILE is a table, or what a labelling
    tool exported: Label Studio (JSON, JSON_MIN, CSV), CVAT for images 1.1, FiftyOne's labels.json, Hugging Face's
    metadata.csv or metadata.jsonl.

    Example: pipeline ingest runs/photos-cnn-margin-influence-greedy-seed0 to_label.csv
    """
    require_run(run_directory)
    from pipeline.annotators.files import FilesAnnotator
    from pipeline.handoff.registry import read_answers
    from pipeline.labelling import ANNOTATOR, open_round, take_in
    from pipeline.run.context import load_data
    from pipeline.run.rounds import Rounds
    from pipeline.run.rundir import RunDirectory, check_unchanged, read_config, read_events

    config = read_config(run_directory)
    if not config.by_files:
        raise PipelineError(f"{run_directory}: expected a run begun with --annotator files; {config.who} answers")
    read_events(run_directory)
    with RunDirectory(run_directory, lambda warning: click.echo(f"warning: {warning}", err=True)) as run:
        data = load_data(config, run=run_directory, features=False)
        if run.events:
            check_unchanged(run.events[0], config, data.fingerprint())
        rounds = Rounds(run, data, FilesAnnotator())
        open_round(rounds.pool)
        handed, who = read_answers(file, format_), ANNOTATOR if annotator is None else annotator
        taken = take_in(rounds, data, file, handed, who, new_classes=new_classes)
        if close:
            rounds.close(open_round(rounds.pool))
    for line in handed.notes:
        note(line)
    changed = f"; {taken.changed} of them correct earlier ones" if taken.changed else ""
    click.echo(f"{taken.labels} labels and {taken.skips} skips taken in{changed}; {taken.known} were known already")
    if taken.left and not close:
        click.echo(f"{taken.left} samples of this round are left: label them, or end the round with --close")
    else:
        click.echo(f"go on with: pipeline resume {run_directory}")
