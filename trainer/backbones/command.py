"""Features of a backbone on a command line: what its options ask for, and progress while they are computed."""

import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trainer.backbones.base import shown
from trainer.backbones.featured import Embedder
from trainer.backbones.tuned import AsImages
from trainer.data.arrays import DataSet
from trainer.errors import TrainerError


def embedder(
    backbone: str | None, finetune: str | None, size: int | None, device: str, store: str | None
) -> Embedder | AsImages | None:
    """Return what options ask for; None where they name no backbone.

    Args:
        backbone: its name.
        finetune: what of it is trained on; None for nothing.
        size: pixels of a side that it sees.
        device: where features are computed.
        store: folder of kept features.

    Raises:
        TrainerError: there is no such backbone, or other options are given without one.

    """
    if backbone is None:
        if any(value is not None for value in (finetune, size, store)):
            raise TrainerError(
                "--finetune, --backbone-size and data.feature_store: expected with --backbone, which is not given"
            )
        return None
    try:
        folder = None if store is None else Path(store).expanduser()
    except RuntimeError as error:
        raise TrainerError(f"data.feature_store: {error}") from error
    found = Embedder(backbone, size, folder, lambda: device)
    return found if finetune is None else AsImages(found.backbone.size_for(size))


def with_bar(embedder: Embedder, images: DataSet) -> DataSet:
    """Return features in the place of images; a bar on standard error says how far it is, a line that it begins.

    Args:
        embedder: what computes them.
        images: the data set.

    Raises:
        TrainerError: they cannot be computed or kept.

    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty())
    task = bar.add_task(f"features by {embedder.backbone.name}", total=None)

    def beginning() -> None:
        size, count = embedder.facts(images).size, len(images.train) + len(images.test)
        console.print(
            f"note: features of {count:,} images at {shown(size)} pixels are computed once, by "
            f"{embedder.backbone.name}, and kept",
            markup=False,
        )
        bar.start()

    try:
        return embedder(images, lambda done, total: bar.update(task, completed=done, total=total), beginning)
    finally:
        bar.stop()
