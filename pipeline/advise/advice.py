"""Whether to go on labelling: accuracy now, what more labels would bring, and what either rests on."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from common.reading import read_json
from pipeline.advise.curves import Forecast, Point, Prior, forecast
from pipeline.advise.verdict import MORE, WORTH, Verdict, decide, too_little
from pipeline.products.agreement import binomial_interval
from pipeline.run.check_set import CheckSet
from pipeline.run.summary import CycleRow

PRIOR = Path(__file__).with_name("prior.json")
CHECK = "check set"
HELD_OUT = "held-out images"


class Known(NamedTuple):
    """The prior that the project ships, with what it was fitted on and how it did on other data.

    Args:
        prior: of curves.
        runs: how many it was validated on, by what the advice rested on.
        data: of how many data sets.
        inside: share of truths that lay in the band, by what the advice rested on and by labels more.
        right: how often a verdict was, and how often it was given, likewise and by verdict, at ``WORTH``.

    """

    prior: Prior
    runs: dict[str, int]
    data: int
    inside: dict[str, dict[str, float]]
    right: dict[str, dict[str, list[int]]]


@lru_cache(maxsize=1)
def known() -> Known:
    """Return the prior and its validation."""
    content = read_json(PRIOR)
    validated = content["validated"]
    return Known(Prior(**content["prior"]), *(validated[name] for name in Known._fields[1:]))


class Advice(NamedTuple):
    """What is known of a run's accuracy.

    Args:
        basis: ``CHECK`` or ``HELD_OUT``; empty where nothing measures accuracy.
        now: the last network's; None likewise, and before the first network.
        low: lower end of its 95 % interval.
        high: upper end.
        forecast: of ``MORE``; None where ``now`` is.
        verdict: what to do.
        early: whether too little was measured for another.
        worth: accuracy that the last of ``MORE`` must bring, as a share.
        check_set: how far it is, where there is one.

    """

    basis: str
    now: Point | None
    low: float
    high: float
    forecast: Forecast | None
    verdict: Verdict
    early: bool
    worth: float
    check_set: CheckSet | None


def advise(points: Sequence[Point], classes: int, basis: str, check_set: CheckSet | None, worth: float) -> Advice:
    """Return what follows of a run's points.

    Args:
        points: by network, in order; none where nothing was measured.
        classes: C of the last network.
        basis: what they were measured on.
        check_set: of the run, where it has one.
        worth: accuracy that 100 labels must bring, as a share.

    """
    if not points:
        return Advice(basis, None, 0.0, 1.0, None, "cannot tell yet", True, worth, check_set)
    expected = forecast(known().prior, points, classes, MORE)
    low, high = binomial_interval(points[-1].right, points[-1].images)
    return Advice(
        basis, points[-1], low, high, expected, decide(expected, worth, points), too_little(points), worth, check_set
    )


def points_of(
    rows: Sequence[CycleRow], check_set: CheckSet | None, test_images: int | None = None
) -> tuple[list[Point], str]:
    """Return what a run measured, and on what: held-out images where there are any, else the check set.

    Args:
        rows: one a finished cycle.
        check_set: of the run.
        test_images: how many are held out, for runs of versions that did not note it.

    """
    points = []
    for row in rows:
        images = row.test_images or test_images
        if row.test_accuracy is not None and images:
            points.append(Point(row.n_labelled, round(row.test_accuracy * images), images))
    if points:
        return points, HELD_OUT
    if check_set is None:
        return [], ""
    return [Point(one.labels, one.right, one.images) for one in check_set.measured], CHECK


def advice_of(
    rows: Sequence[CycleRow],
    classes: int,
    check_set: CheckSet | None,
    worth: float = WORTH,
    test_images: int | None = None,
) -> Advice:
    """Return the advice for a run.

    Args:
        rows: one a finished cycle.
        classes: C of the last network.
        check_set: of the run.
        worth: as of ``advise``.
        test_images: as of ``points_of``.

    """
    points, basis = points_of(rows, check_set, test_images)
    return advise(points, classes, basis, check_set, worth)


def plain(advice: Advice) -> dict[str, Any]:
    """Return advice as JSON has it.

    Args:
        advice: of a run.

    """
    now, expected = advice.now, advice.forecast
    accuracy = None
    if now is not None:
        value = now.right / now.images
        accuracy = {"value": value, "low": advice.low, "high": advice.high, "images": now.images, "labels": now.labels}
    later = []
    if expected is not None:
        columns = zip(*(column.tolist() for column in expected.by_labels), strict=True)
        names = Forecast._fields[1:-1]
        later = [{"labels": n, **dict(zip(names, row, strict=True))} for n, row in zip(MORE, columns, strict=True)]
    return {
        "verdict": advice.verdict,
        "worth": advice.worth,
        "basis": advice.basis,
        "accuracy": accuracy,
        "expected": later,
        "check_set": None if advice.check_set is None else advice.check_set._asdict() | {"measured": None},
        "validated": known()._asdict() | {"prior": None},
    }
