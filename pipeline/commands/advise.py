"""``pipeline advise``."""

import json
from pathlib import Path

import click

from common.command_line import Finite
from pipeline.options import note, trust_code_option
from pipeline.places import check_place, require_run


@click.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--worth", type=Finite(0, 100), default=1.0, show_default=True, help="Points that 100 labels must bring.")
@click.option("--review", type=click.Path(path_type=Path), help="Write all labels that look wrong, as a table.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object, for scripts.")
@trust_code_option
def advise(run_directory: Path, worth: float, review: Path | None, as_json: bool, trust_code: bool) -> None:
    """Say whether to go on labelling: accuracy now, after 20, 50 and 100 labels more, and which labels look wrong.

    Accuracy is that on held-out images with labels or on the check set (pipeline label RUN --check 60); without either
    none is claimed.  The run is only read.

    Example: pipeline advise runs/photos-label
    """
    require_run(run_directory)
    if review is not None:
        check_place(review)
    from pipeline.advise.command import advise_run, shown

    found = advise_run(run_directory, worth / 100, trust_code=trust_code, say=note)
    if review is not None:
        found.write_review(review)
    if as_json:
        click.echo(json.dumps(found.plain()))
        return
    for name, text in shown(found):
        click.echo(f"{name:<11} {text}")
    if review is not None:
        click.echo(f"{'review':<11} {review}")
