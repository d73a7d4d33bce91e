"""The answer in one plain sentence, which may be "no" or "these seeds do not decide it", and what it rests on."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pipeline.pilot.measure import Pilot, Shown
from pipeline.pilot.sizes import FEW_TEST
from pipeline.report.sources import RANDOM
from pipeline.report.wording import p_value

Answer = Literal["yes", "no", "open"]
WORTH = 0.01
"""A gain over the range of labels that is worth having: where the interval ends below it, the answer is no."""


def network_of(pilot: Pilot) -> str:
    """Return what was trained, and on whose features.

    Args:
        pilot: what it shows.

    """
    config = pilot.experiment.config
    seen = "" if config.data.backbone is None else f" on {Path(config.data.backbone).name}"
    return f"{config.model.name}{seen}"


def answer_of(shown: Shown) -> Answer:
    """Return the answer: yes or no where interval and test allow it.

    Yes takes both: the interval over seeds and test images lies above zero, and the signed-rank test over seeds,
    corrected for the number of strategies, decides for the strategy.  No: the interval ends below a gain that is worth
    having, or both speak for random.

    Args:
        shown: what the pilot shows of a strategy.

    """
    if shown.test.winner == shown.strategy and shown.gain.low > 0:
        return "yes"
    return "no" if shown.gain.high < WORTH else "open"


def sentence(shown: Shown) -> str:
    """Return the answer for a strategy as a sentence.

    Args:
        shown: what the pilot shows of it.

    """
    name, gain = shown.strategy, shown.gain
    span = f"{shown.rows[0].labels} to {shown.rows[-1].labels} labels"
    interval = f"95 % interval {_points(gain.low)} to {_points(gain.high)}; corrected {p_value(shown.test.corrected)}"
    numbers = f"{_points(gain.mean)} points of accuracy over {span} ({interval})"
    answer = answer_of(shown)
    if answer == "yes":
        return f"Yes: on this data {name} beats random: {numbers}."
    if answer == "open":
        why = " The interval lies above zero, but the seeds do not agree enough." * (gain.low > 0)
        return f"These seeds do not decide it: {name} beside random is {numbers}.{why}"
    if gain.high < 0:
        return f"No: on this data {name} is worse than random: {numbers}."
    return f"No: on this data {name} gains less over random than the {100 * WORTH:g} point asked of it: {numbers}."


def about_saving(shown: Shown) -> Iterator[str]:
    """Yield what equal accuracy costs in labels.

    Args:
        shown: what the pilot shows of a strategy.

    """
    saved, last = shown.saved, shown.rows[-1]
    low, high = (_signed(value) for value in (saved.low, saved.high))
    text = f"At equal accuracy {shown.strategy} takes {_count(saved.mean)} than random (95 % interval {low} to {high}"
    yield f"{text}, minus for more), at the highest accuracy that both reach within {last.labels} labels."
    yield (
        f"The accuracy that {shown.strategy} ends with, {_percent(last.accuracy)} on average, random reached within "
        f"{last.labels} labels at {shown.reached} of {shown.seeds} seeds{_at_least(shown)}."
    )


def _at_least(shown: Shown) -> str:
    never = shown.seeds - shown.reached
    return "; at the others it takes more than that" if 0 < never < shown.seeds else "; it takes more" * (never > 0)


def basis(pilot: Pilot, shown: Shown) -> str:
    """Say what the answer rests on.

    Args:
        pilot: all of it.
        shown: what it shows of a strategy.

    """
    return (
        f"{shown.seeds} seeds (other first labels and weights each, the same for both) and {pilot.test:,} test images, "
        "both of which the interval counts in as samples (crossed random effects), and a signed-rank test over the "
        "seeds. A yes takes both."
    )


def limits(pilot: Pilot) -> Iterator[str]:
    """Yield what the page does not show.

    Args:
        pilot: all of it.

    """
    rows = [row for run in pilot.experiment.runs for row in run.rows]
    labels = max(row.n_labelled for row in rows)
    yield (
        f"Candidates were the {pilot.pool:,} labelled images alone, of which {labels} ({labels / pilot.pool:.0%}) were "
        "asked for in the end. A larger pool of the same kind offers more to choose from; a gain here is no promise "
        "for images of another kind."
    )
    yield "If the labelled part is no random part of the whole, the answer is about that part."
    yield (
        "The test images were looked at once after each training and chose nothing; all seeds share them and the pool. "
        "More seeds added after seeing this page would make its figures optimistic."
    )
    yield "Where curves are nearly flat, a small difference in accuracy is one of many labels."
    if pilot.test < FEW_TEST:
        yield f"{pilot.test} test images are few: at least {FEW_TEST} should be labelled for a firm answer."
    yield (
        f"It holds for this network ({network_of(pilot)}) and these numbers of labels; labels are "
        "taken to be right and equally dear."
    )
    if stopped := sum(not row.converged for row in rows):
        yield (
            f"{stopped} of {len(rows)} trainings ended before they converged, which strategies that look ahead assume "
            "that they do."
        )


def table(shown: Shown) -> list[tuple[str, str, str, str, str]]:
    """Return a row a number of labels: labels, both accuracies, their difference, and what random needs for the first.

    Args:
        shown: what the pilot shows of a strategy.

    """
    last = shown.rows[-1].labels
    return [
        (
            str(row.labels),
            _percent(row.accuracy),
            _percent(row.random),
            _points(row.accuracy - row.random),
            f"> {last}" if math.isinf(row.needed) else f"{row.needed:.0f}",
        )
        for row in shown.rows
    ]


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def _signed(value: float) -> str:
    return f"{value:+.0f}".replace("-", "−")


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _count(value: float) -> str:
    return f"{abs(value):.0f} labels {'fewer' if value >= 0 else 'more'}"


def short(pilot: Pilot, title: str, command: str) -> str:
    """Return the page as a short plain text.

    Args:
        pilot: all of it.
        title: its heading.
        command: that makes it again.

    """
    lines = [title, "=" * len(title), ""]
    for shown in pilot.shown:
        lines += [sentence(shown), *about_saving(shown), f"It rests on {basis(pilot, shown)}", ""]
        head = ("labels", shown.strategy, RANDOM, "points", f"{RANDOM} needs")
        rows = [head, *table(shown)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        lines.append("")
    lines += ["Limits:", *(f"- {line}" for line in limits(pilot)), "", f"Made by: {command}"]
    return "\n".join(lines) + "\n"
