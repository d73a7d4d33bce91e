"""What a finished run says at its end."""

from pathlib import Path

from pipeline.heldout import unclaimed
from pipeline.run.summary import area_of, area_under_curve, read_random, read_rows, shown_accuracy


def outcome(path: Path, data: str) -> list[str]:
    """Return what a finished run achieved, and where to look.

    Args:
        path: the run directory.
        data: name of the data set.

    """
    rows = read_rows(path)
    final, area = rows[-1], area_under_curve(rows)
    if area is None:
        return [f"trained on {final.n_labelled} labels", unclaimed(data), f"run {path}"]
    random = read_random(path)
    beside = (
        [f"as many images drawn at random: {shown_accuracy(random[-1][1])}, area {area_of(random):.4f}"]
        if random
        else []
    )
    return [
        f"final test accuracy {shown_accuracy(final.test_accuracy)} with {final.n_labelled} labels",
        f"area under the curve {area:.4f}",
        *beside,
        f"learning curve {path / 'report' / 'learning_curve.png'}",
        f"run {path}",
    ]
