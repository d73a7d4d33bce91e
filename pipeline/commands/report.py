"""``pipeline report``."""

from pathlib import Path

import click

from pipeline.places import require_report


@click.command()
@click.argument("directories", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Directory to write to.  [report in the first DIR]")
@click.option("--baseline", metavar="NAME", help="The strategy that the others are compared with.  [random]")
@click.option("--strategies", metavar="NAMES", help="Compare these alone, in this order; names with commas.  [all]")
def report(directories: tuple[Path, ...], out: Path | None, baseline: str | None, strategies: str | None) -> None:
    """Compare finished runs: one offline HTML page, its figures, and results.csv.

    A DIR is what 'pipeline compare' or 'pipeline run' made.  Runs that differ in more than strategy and seed become
    experiments of their own; several data sets are compared by Friedman's test.  The page says which baseline was
    chosen and which strategies were left out.

    Example: pipeline report runs/compare-digits
    """
    for directory in directories:
        require_report(directory)
    from pipeline.report.page import write_comparison
    from pipeline.report.sources import Choice

    click.echo(f"report {write_comparison(directories, out, Choice.of(baseline, strategies))}")
