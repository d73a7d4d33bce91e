"""A run's images as features of a pretrained network: those that it began with, with progress where they are computed."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.config import RunConfig
from pipeline.errors import PipelineError
from pipeline.run.device import choose_device
from pipeline.run.events import Event
from trainer.backbones.base import shown
from trainer.backbones.featured import Embedder
from trainer.data import DataSet
from trainer.errors import TrainerError

Progress = Callable[[int, int], None]


def embedder_of(config: RunConfig, start: Event | None) -> Embedder | None:
    """Return what makes features of a run's images; None where it trains on the images themselves.

    Args:
        config: the run's.
        start: its first event, which says by which weights and at which size it began; None where it has none.

    Raises:
        PipelineError: there is no such backbone, or its weights are others than those that the run began with.

    """
    section = config.data
    if section.backbone is None:
        return None
    began = (start or {}).get("backbone")
    began = began if isinstance(began, dict) else {}
    size, height = section.backbone_size, _height(began)
    try:
        store = Path(section.feature_store).expanduser() if section.feature_store else None
        embedder = Embedder(section.backbone, size or height, store, lambda: choose_device(config.device))
    except (TrainerError, RuntimeError) as error:  # RuntimeError: the home directory of ~user is not known
        raise PipelineError(f"data.{error}") from error
    expected, found = began.get("sha256"), embedder.backbone.sha256
    if expected not in (None, found):
        raise PipelineError(
            f"data.backbone: the weights of {section.backbone} are not those that the run began with (SHA-256 "
            f"{found[:12]}, expected {str(expected)[:12]}): put them back, or begin a new run"
        )
    return embedder


def _height(began: dict[str, object]) -> int | None:
    """Return the side of the squares that a run began with; None where it does not say, or they were none."""
    size = began.get("size")
    if isinstance(size, list) and len(size) == 2 and size[0] == size[1] and isinstance(size[0], int):
        return size[0]
    return None


def fingerprint_with(embedder: Embedder | None, images: DataSet) -> str:
    """Return the digest that a run's data has, before any feature is computed.

    Args:
        embedder: what makes features of the images; None where nothing does.
        images: the data set.

    Raises:
        PipelineError: the backbone does not take them.

    """
    if embedder is None:
        return images.fingerprint()
    try:
        return embedder.facts(images).fingerprint(images.classes)
    except TrainerError as error:
        raise PipelineError(f"data.{error}") from error


def features_of(embedder: Embedder, images: DataSet, progress: Progress | None = None) -> DataSet:
    """Return a data set of features in the place of its images.

    Args:
        embedder: what makes them.
        images: the data set.
        progress: told how many are computed, of how many; on a terminal a bar shows it where nobody is told.

    Raises:
        PipelineError: they cannot be computed or kept.

    """
    try:
        if progress is not None:
            return embedder(images, progress)
        with _bar(embedder, images) as (told, beginning):
            return embedder(images, told, beginning)
    except TrainerError as error:
        raise PipelineError(f"data.{error}" if str(error).startswith("backbone") else str(error)) from error


@contextmanager
def _bar(embedder: Embedder, images: DataSet) -> Iterator[tuple[Progress, Callable[[], None]]]:
    """Show a bar on standard error while features are computed; a line where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty())
    task = bar.add_task(f"features by {embedder.backbone.name}", total=None)

    def beginning() -> None:
        facts, count = embedder.facts(images), len(images.train) + len(images.test)
        console.print(
            f"note: features of {count:,} images at {shown(facts.size)} are computed once, by {facts.backbone}, and kept",
            markup=False,
        )
        bar.start()

    try:
        yield lambda done, total: bar.update(task, completed=done, total=total), beginning
    finally:
        bar.stop()
