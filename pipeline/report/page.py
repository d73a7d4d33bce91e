"""The report as one HTML file that needs nothing else, with its figures and numbers as files beside it."""

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from common.memory import shown
from pipeline.errors import PipelineError
from pipeline.files import write_atomically
from pipeline.machine import hardware, spell_hardware
from pipeline.places import check_place
from pipeline.report import headings, provenance, wording
from pipeline.report.across import AcrossData, across_data
from pipeline.report.analysis import Analysis, analyse
from pipeline.report.families import Family
from pipeline.report.figures import Drawn, draw_all, spell_seconds
from pipeline.report.results import Experiment, Results, read_results
from pipeline.report.sources import EVERYTHING, Choice
from pipeline.report.table import results_csv
from pipeline.report.thumbnails import Sheet, make_sheet
from pipeline.sweep.grid import GRID, read_grid

INDEX, RESULTS, TEMPLATE = "index.html", "results.csv", "page.html.j2"


class MatrixCell(NamedTuple):
    """One cell of the pairwise matrix, seen from the row's strategy.

    Args:
        difference: row minus column, in points.
        p: corrected.
        n: common seeds.
        state: ``better``, ``worse``, ``open`` or ``self``.

    """

    difference: str
    p: str
    n: int
    state: str


@dataclass(frozen=True)
class Chapter:
    """Everything that the page shows about one experiment.

    Args:
        experiment: its runs.
        analysis: its numbers.
        figures: drawn.
        sheet: thumbnails of the picks.

    """

    experiment: Experiment
    analysis: Analysis
    figures: tuple[Drawn, ...]
    sheet: Sheet


def write_comparison(directories: Sequence[Path], out: Path | None = None, choice: Choice = EVERYTHING) -> Path:
    """Write the report of grids and run directories.

    Args:
        directories: each made by ``pipeline compare`` or ``pipeline run``.
        out: where to; ``report`` in the first directory by default.
        choice: the strategies and the baseline that were asked for.

    Returns:
        The page's path.

    Raises:
        PipelineError: nothing to report, or no directory to write to; nothing is written.

    """
    where = out or directories[0] / "report"
    check_place(where)
    results = read_results(directories, choice)
    chapters = [_chapter(experiment) for experiment in results.experiments]
    page = render(results, chapters)
    try:
        where.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PipelineError(f"--out: cannot write to {where}: {error.strerror}") from error
    write_atomically(where / RESULTS, results_csv(results.experiments))
    for figure in (figure for chapter in chapters for figure in chapter.figures):
        write_atomically(where / f"{figure.name}.svg", figure.svg)
        write_atomically(where / f"{figure.name}.png", figure.png)
    write_atomically(where / INDEX, page)  # last: a page that is there has its files
    return where / INDEX


def _chapter(experiment: Experiment) -> Chapter:
    analysis = analyse(experiment)
    return Chapter(experiment, analysis, tuple(draw_all(analysis)), make_sheet(experiment))


def render(results: Results, chapters: Sequence[Chapter]) -> str:
    """Return the page.

    Args:
        results: the runs that were read.
        chapters: one an experiment.

    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pipeline.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=wording.percent,
        points=wording.points,
        p=wording.p_value,
        p_number=wording.p_number,
        svg_uri=_svg_uri,
        seconds=spell_seconds,
        memory=shown,
    )
    experiments = [chapter.experiment for chapter in chapters]
    runs = [run for experiment in experiments for run in experiment.runs]
    return environment.get_template(TEMPLATE).render(
        chapters=chapters,
        heading=headings.heading(experiments),
        compares=headings.compares(experiments),
        across=across_data([chapter.analysis for chapter in chapters]),
        excluded=results.excluded,
        chosen=[*wording.about_choice(results.choice, results.left_out)],
        rule=wording.rule_of_exclusion(results.excluded, results.left_out),
        wording=wording,
        matrix=matrix,
        area_matrix=area_matrix,
        versions=provenance.versions_of(runs),
        reporting=provenance.reporting_versions(),
        machines=provenance.machines_of(runs),
        machine=spell_hardware(hardware()),
        mismatches=grid_mismatches(results.directories, results.left_out),
        dates=provenance.dates_of,
        commands=provenance.commands(results.directories, results.choice),
        results_file=RESULTS,
    )


def grid_mismatches(directories: Sequence[Path], left_out: Collection[str] = ()) -> list[str]:
    """Name what the strategies of a seed did not share, in every grid among the directories; some are left out.

    Args:
        directories: of runs and comparisons.
        left_out: strategies that were left out.

    """
    from pipeline.sweep.check import mismatches

    found = []
    for directory in directories:
        if (directory / GRID).is_file():
            grid = read_grid(directory)
            if names := tuple(name for name in grid.strategies if name not in left_out):
                found += [f"{directory}: {text}" for text in mismatches(directory, replace(grid, strategies=names))]
    return found


def matrix(family: Family, names: Sequence[str]) -> list[tuple[str, list[MatrixCell]]]:
    """Return the rows of the pairwise matrix, each with its strategy.

    Args:
        family: the tests of all pairs.
        names: strategies in the order of rows and columns.

    """
    cells: dict[tuple[str, str], MatrixCell] = {(name, name): MatrixCell("", "", 0, "self") for name in names}
    for test in family.tests:
        for sign, row, column in ((1, test.a, test.b), (-1, test.b, test.a)):
            mean = "–" if test.difference is None else f"{100 * sign * test.difference.mean:+.2f}".replace("-", "−")
            state = "open" if test.winner is None else "better" if test.winner == row else "worse"
            cells[row, column] = MatrixCell(mean, wording.p_value(test.corrected), test.n, state)
    return [(row, [cells[row, column] for column in names]) for row in names]


def area_matrix(across: AcrossData) -> list[tuple[str, list[str]]]:
    """Return each block's mean areas in percent."""
    return [
        (title, [f"{100 * area:.2f}" for area in areas])
        for title, areas in zip(across.titles, across.areas, strict=False)
    ]


def _svg_uri(figure: Drawn) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(figure.svg).decode("ascii")
