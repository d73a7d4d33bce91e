"""The one page of a pilot: HTML that needs nothing else, a picture and a short text."""

import base64
import shlex
from pathlib import Path

from pipeline.files import write_atomically
from pipeline.pilot import verdict
from pipeline.pilot.evidence import Interval
from pipeline.pilot.measure import Pilot
from pipeline.report.figures import draw_curves
from pipeline.report.provenance import dates_of, machines_of, versions_of

INDEX, PICTURE, TEXT, TEMPLATE = "index.html", "pilot.png", "pilot.txt", "page.html.j2"
TITLE = "Does choosing which images to label beat drawing them at random?"


def write_page(pilot: Pilot, out: Path, comparison: Path, command: str, notes: tuple[str, ...] = ()) -> Path:
    """Write the page, the picture and the text.

    Args:
        pilot: what it shows.
        out: the pilot's directory.
        comparison: that of its runs.
        command: that makes it again.
        notes: how its sizes came about.

    Returns:
        The page's path.

    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pipeline.pilot", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawn = draw_curves(pilot.analysis)
    experiment = pilot.experiment
    page = environment.get_template(TEMPLATE).render(
        title=TITLE,
        what=what(pilot),
        pilot=pilot,
        verdict=verdict,
        gain=_gain,
        labels=_labels,
        drawn=drawn,
        figure="data:image/svg+xml;base64," + base64.b64encode(drawn.svg).decode("ascii"),
        how=" ".join([how(pilot), *notes, f"Computed {dates_of(experiment)}."]),
        command=command,
        details=f"pipeline report {shlex.quote(str(comparison))}",
        versions=", ".join(versions_of(experiment.runs).packages),
        machine="; ".join(machines_of(experiment.runs)),
    )
    text = verdict.short(pilot, TITLE, command)
    write_atomically(out / PICTURE, drawn.png)
    write_atomically(out / TEXT, text.replace("\n\n", f"\n\n{what(pilot)}\n\n", 1))
    write_atomically(out / INDEX, page)  # last: a page that is there has its files
    return out / INDEX


def what(pilot: Pilot) -> str:
    """Say what was compared on which data.

    Args:
        pilot: what it shows.

    """
    names = " and ".join(shown.strategy for shown in pilot.shown)
    few = ", ".join(pilot.classes[:6]) + ", …" * (len(pilot.classes) > 6)
    return (
        f"{names} beside random on {shown_name(pilot)}: {len(pilot.classes)} classes ({few}), "
        f"{pilot.pool:,} labelled images to choose among, {pilot.test:,} others to test on."
    )


def shown_name(pilot: Pilot) -> str:
    """Return the data's name without the folders that it lies in, which are nobody else's business."""
    name = pilot.experiment.config.data.name
    return Path(name.partition(":")[2]).name if ":" in name else name


def how(pilot: Pilot) -> str:
    """Say how the runs went.

    Args:
        pilot: what it shows.

    """
    config = pilot.experiment.config
    initial = config.query.initial
    first = "drawn at random" if initial == "random" else f"chosen before any answer (query.initial {initial})"
    return (
        f"Each run began with {config.query.n_init} labels {first}, asked {config.cycles - 1} times for "
        f"{config.query.answers}, and trained the network {verdict.network_of(pilot)} after each; at a seed all "
        "strategies began with the same labels and weights."
    )


def _gain(interval: Interval) -> str:
    return f"{100 * interval.mean:+.1f} ± {100 * interval.half:.1f}".replace("-", "−")


def _labels(interval: Interval) -> str:
    return f"{interval.mean:+.0f} ± {interval.half:.0f}".replace("-", "−")
