"""Pictures that go into a hand-off: the user's own files, or what the network sees where samples are no files."""

import shutil
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.handoff.names import picture_name
from trainer.data import DataSet
from trainer.data.listing import inside
from trainer.data.show import MOST_SIDE, picture
from trainer.errors import TrainerError

SHOWN_SIDE = 1024
"""Pixels that neither side of a picture exceeds that is made for a browser, as on the page."""


def require_pictures(data: DataSet) -> None:
    """Refuse data that has no pictures.

    Args:
        data: the run's.

    Raises:
        PipelineError: its samples are features.

    """
    if data.pictures.holds_features:
        raise PipelineError(
            f"{data.name}: expected images, but its samples are features, which these tools cannot show: use the "
            "page of 'pipeline label', or --format table"
        )


def copy_pictures(data: DataSet, samples: tuple[int, ...], folder: Path) -> None:
    """Copy the pictures of samples, each under its name.

    Args:
        data: the run's.
        samples: ids.
        folder: where to.

    Raises:
        PipelineError: a file is gone, or cannot be read any more.
        OSError: one cannot be written.

    """
    for sample in samples:
        target = folder / picture_name(data, sample)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = data.sample_file("train", sample)
            if file is None or data.root is None:
                target.write_bytes(picture(data, "train", sample, MOST_SIDE)[0])
            else:
                shutil.copyfile(inside(file, data.root), target)
        except TrainerError as error:
            raise PipelineError(str(error)) from error


def shown_picture(data: DataSet, sample: int, folder: Path) -> str:
    """Write the picture that a browser is to show of a sample, where it is not there yet, and return its name.

    Args:
        data: the run's.
        sample: id.
        folder: where to.

    Raises:
        PipelineError: its file is gone, or cannot be read any more.
        OSError: it cannot be written.

    """
    for ending in ("jpg", "png"):
        if (folder / f"{sample}.{ending}").is_file():
            return f"{sample}.{ending}"
    try:
        content, kind = picture(data, "train", sample, SHOWN_SIDE)
    except TrainerError as error:
        raise PipelineError(str(error)) from error
    name = f"{sample}.{'jpg' if kind == 'image/jpeg' else 'png'}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return name
