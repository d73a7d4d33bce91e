"""How a run's images became bytes where that depends on all of them: other images have to be read alike."""

from pathlib import Path
from typing import NamedTuple

from pipeline.config import RunConfig
from pipeline.errors import PipelineError
from trainer.data import DataSet, custom_kind
from trainer.errors import TrainerError


class Reading(NamedTuple):
    """What is read as black and as white.

    Args:
        depth: of 16-bit greys, the value that becomes 0 and the bits that are lost; see ``trainer.data.decode.Depth``.
        span: of floats in arrays, those that become 0 and 255.

    """

    depth: tuple[int, int] = (0, 8)
    span: tuple[float, float] = (0.0, 1.0)


def reading_of(config: RunConfig, data: DataSet) -> Reading:
    """Return how a run's images were read, which was chosen by the values that they use.

    Args:
        config: the run's.
        data: its data.

    Raises:
        PipelineError: an archive cannot be read any more.

    """
    if data.pictures.holds_features:
        return Reading()
    if data.root is not None:
        return Reading(depth=data.depth)
    if custom_kind(config.data.name) == "npz":
        return Reading(span=_span(Path(config.data.name.removeprefix("npz:")).expanduser()))
    return Reading()


def _span(path: Path) -> tuple[float, float]:
    from trainer.data.archive import array_names, find_parts, read_arrays
    from trainer.data.array_forms import span_of

    try:
        parts = find_parts(path, array_names(path))
        return span_of([*read_arrays(path, [part.x for part in parts], None).values()])
    except TrainerError as error:
        raise PipelineError(str(error)) from error
