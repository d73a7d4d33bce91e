"""Test images with labels, on which accuracy is measured: who needs them, and what is said where there are none."""

from pipeline.errors import PipelineError
from trainer.data import DataSet, custom_kind


def unclaimed(name: str) -> str:
    """Say that nothing is claimed about accuracy, and how to have it measured.

    Args:
        name: of the data set, ``KIND:PATH``.

    """
    return f"no test images with labels: accuracy is not claimed; {_remedy(name)}"


def require_test(name: str, data: DataSet) -> None:
    """Refuse data without test images where strategies are to be compared by their accuracy on them.

    Args:
        name: of the data set.
        data: the data set.

    Raises:
        PipelineError: it has none; the message says how to have some.

    """
    if not len(data.test):
        raise PipelineError(
            f"data: {name} has no test images with labels, and a comparison measures accuracy on them: {_remedy(name)}"
        )


def _remedy(name: str) -> str:
    place = "give them as x_test and y_test" if custom_kind(name) == "npz" else "put them under test/"
    return f"hold some out (data.test_fraction) or {place}"
