"""``pipeline report``."""

from pathlib import Path

import click


@click.command()
@click.argument("directories", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Directory to write to.  [report in the first DIR]")
def report(directories: tuple[Path, ...], out: Path | None) -> None:
    """Compare finished runs: one offline HTML page, its figures, and results.csv.

    A DIR is what 'pipeline compare' or 'pipeline run' made.  Runs that differ in more than strategy and seed become
    experiments of their own; several data sets are compared by Friedman's test.

    Example: pipeline report runs/compare-digits
    """
    from pipeline.comparison.page import write_comparison

    click.echo(f"report {write_comparison(directories, out)}")
