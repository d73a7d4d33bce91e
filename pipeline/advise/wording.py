"""Advice in plain words, the same on the terminal, on the page and in the report."""

from pipeline.advise.advice import CHECK, Advice, known
from pipeline.advise.verdict import FEWEST_IMAGES, FEWEST_NETWORKS, MORE

MANY_IMAGES = 90
"""From so many on, a check set is compared with those of 120 and not of 60."""


def percent(share: float) -> str:
    """Return a share in percent with one decimal.

    Args:
        share: between 0 and 1.

    """
    return f"{100 * share:.1f} %"


def accuracy_line(advice: Advice) -> str:
    """Say how good the last network is, and what that rests on.

    Args:
        advice: with something measured.

    """
    now = advice.now
    assert now is not None
    what = "check images, drawn at random and never trained on" if advice.basis == CHECK else "held-out images"
    share = percent(now.right / now.images)
    interval = f"95 % interval {percent(advice.low)} to {percent(advice.high)}"
    return f"{share} after {now.labels} labels ({interval}: {now.right} of {now.images} {what})"


def expected_lines(advice: Advice) -> list[tuple[str, str]]:
    """Return what is expected after more labels, by how many.

    Args:
        advice: of a run.

    """
    found = advice.forecast
    if found is None:
        return []
    rows = zip(MORE, found.accuracy, found.low, found.high, strict=True)
    return [
        (f"+{more} labels", f"{percent(mid)} (95 % band {percent(low)} to {percent(high)})")
        for more, mid, low, high in rows
    ]


def reason(advice: Advice) -> str:
    """Say what the verdict follows from.

    Args:
        advice: with a forecast.

    """
    found = advice.forecast
    assert found is not None
    gain, low, high = (100 * float(column[-1]) for column in (found.gain, found.gain_low, found.gain_high))
    worth = f"{100 * advice.worth:g} point{'' if advice.worth == 0.01 else 's'}"
    band = (
        f"{MORE[-1]} labels more would bring {gain:+.1f} points (90 % band {low:+.1f} to {high:+.1f}) beside the "
        f"{percent(found.now)} that the curve has now"
    )
    if advice.early:
        return f"{band}; before {FEWEST_NETWORKS} networks were measured on {FEWEST_IMAGES} images nobody is told more"
    why = {
        "stop": f"less than the {worth} that they must be worth",
        "go on": f"the {worth} that they must be worth, at least",
        "cannot tell yet": f"the {worth} that they must be worth lies within",
    }[advice.verdict]
    return f"{band}: {why}"


def rests_on(advice: Advice) -> str:
    """Say what the bands rest on, and how often such bands were right.

    Args:
        advice: of a run.

    """
    validation = known()
    images = 0 if advice.now is None else advice.now.images
    kind = "test set" if advice.basis != CHECK else f"check set of {60 if images < MANY_IMAGES else 120}"
    shares = ", ".join(f"{100 * validation.inside[kind][str(more)]:.0f} % at +{more}" for more in MORE)
    right, given = validation.right[kind]["go on"]
    return (
        f"this run's own accuracies and the curves of earlier runs of other data; in {validation.runs[kind]} runs of "
        f"{validation.data} data sets that were left out in turn, the accuracy then lay in such a band in {shares}; "
        f"where they were told to go on, 100 labels brought a point or more in {100 * right / given:.0f} %"
    )


def lines_of(advice: Advice, unmeasured: str) -> list[tuple[str, str]]:
    """Return all of it, one fact a line: what it is called, and what is said.

    Args:
        advice: of a run.
        unmeasured: what is said in the place of an accuracy where there is none.

    """
    lines = [("accuracy", accuracy_line(advice) if advice.now else unmeasured), *expected_lines(advice)]
    if advice.check_set is not None:
        lines.append(("check set", advice.check_set.told))
    if advice.forecast is None:
        return [*lines, ("advice", "cannot tell yet: nothing measures the accuracy")]
    return [*lines, ("advice", f"{advice.verdict}: {reason(advice)}"), ("rests on", rests_on(advice))]
