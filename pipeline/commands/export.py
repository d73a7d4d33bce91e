"""``pipeline export``."""

from pathlib import Path

import click

from pipeline.places import check_file, require_run


@click.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="File to write.  [to_label.csv in RUN]")
def export(run_directory: Path, out: Path | None) -> None:
    """Write what a run asks for as a table: fill in the column 'label', or 'status' with 'skipped'.

    Example: pipeline export runs/photos-cnn-margin-influence-greedy-seed0 --out to_label.csv
    """
    path = out or run_directory / "to_label.csv"
    require_run(run_directory)
    from pipeline.labelling import write_questions
    from pipeline.run.context import load_data
    from pipeline.run.pool import Pool
    from pipeline.run.rundir import read_config, read_events

    config = read_config(run_directory)
    check_file(path)
    data = load_data(config, run=run_directory, features=False)
    pool = Pool(len(data.train), read_events(run_directory))
    count, classes = write_questions(pool, data, path), (*data.classes, *pool.added_classes)
    click.echo(f"{path}: {count} samples to label as one of {', '.join(classes)}")
