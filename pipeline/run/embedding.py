"""A run's images as features of a pretrained network: by the weights and at the size that it began with."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.config import RunConfig
from pipeline.errors import PipelineError
from pipeline.run.device import choose_device
from pipeline.run.events import Event
from trainer.backbones import OWN, kind_of, open_backbone
from trainer.backbones.base import Size, shown
from trainer.backbones.command import with_bar
from trainer.backbones.featured import Embedder
from trainer.backbones.tuned import AsImages
from trainer.data import DataSet, ImageOptions
from trainer.data.arrays import Embedded
from trainer.errors import TrainerError

Progress = Callable[[int, int], None]


def embedder_of(config: RunConfig, start: Event | None) -> Embedder | AsImages | None:
    """Return what makes features of a run's images, or leaves them to a backbone that is trained on; None for neither.

    Args:
        config: the run's.
        start: its first event, which says by which weights and at which size it began; None where it has none.

    Raises:
        PipelineError: there is no such backbone, or its weights are others than those that the run began with.

    """
    section = config.data
    if section.backbone is None:
        return None
    began = StandIn.of(start)
    if began is not None:
        _require_folder(section.backbone)
    square = began.size[0] if began is not None and began.size[0] == began.size[1] else None
    try:
        store = Path(section.feature_store).expanduser() if section.feature_store else None
        embedder = Embedder(section.backbone, section.backbone_size, store, lambda: choose_device(config.device))
        frozen = section.finetune is None
        if section.backbone_size is None and square is not None and frozen and not embedder.backbone.fixed:
            embedder = Embedder(section.backbone, square, store, lambda: choose_device(config.device))
    except (TrainerError, RuntimeError) as error:  # RuntimeError: the home directory of ~user is not known
        raise _placed(error) from error
    found = embedder.backbone.sha256
    if began is not None and began.sha256 != found:
        raise PipelineError(
            f"data.backbone: the weights of {section.backbone} are not those that the run began with (SHA-256 "
            f"{found[:12]}, expected {began.sha256[:12]}): put them back, or begin a new run"
        )
    if section.finetune is not None:
        return AsImages(embedder.backbone.size_for(section.backbone_size))
    return embedder


def _require_folder(backbone: str) -> None:
    """Refuse the folder of a run's backbone where it is not there: the name was right when the run began."""
    try:
        absent = kind_of(backbone) is OWN["FOLDER"] and not Path(backbone).expanduser().is_dir()
    except (TrainerError, RuntimeError) as error:  # RuntimeError: the home directory of ~user is not known
        raise _placed(error) from error
    if absent:
        where, other = "", ""
        if not Path(backbone).expanduser().is_absolute():
            where, other = f" from {Path.cwd()}", ", or go on from where the run was begun"
        raise PipelineError(f"data.backbone: the run's folder {backbone} is not there{where}: put it back{other}")


def facts_of(config: RunConfig, data: DataSet) -> dict[str, Any] | None:
    """Return what a run's record says of its backbone; None where it has none.

    Args:
        config: the run's.
        data: its data, loaded.

    """
    if (made := data.embedded) is not None:
        return {"name": made.backbone, "sha256": made.sha256, "size": list(made.size)}
    if config.data.backbone is None:
        return None
    found = open_backbone(config.data.backbone)
    size = found.size_for(config.data.backbone_size, data.input_shape[1:])
    return {"name": found.name, "sha256": found.sha256, "size": list(size), "finetune": config.data.finetune}


class StandIn:
    """Says of images what features of them a run began with, and leaves them images: no backbone is opened.

    Args:
        name: of the backbone.
        sha256: digest of its weights.
        size: (height, width) that it sees.

    """

    def __init__(self, name: str, sha256: str, size: Size) -> None:
        self.name, self.sha256, self.size = name, sha256, size

    @classmethod
    def of(cls, start: Event | None) -> "StandIn | None":
        """Return what a run began with; None where it does not say.

        Args:
            start: its first event.

        """
        try:
            said = (start or {})["backbone"]
            height, width = (int(side) for side in said["size"])
            return cls(str(said["name"]), str(said["sha256"]), (height, width))
        except (KeyError, TypeError, ValueError):
            return None

    def options(self, options: ImageOptions) -> ImageOptions:
        """Return how the images of a folder are read, as ``Embedder.options`` does."""
        if options.image_size is not None:
            return options
        return replace(options, image_size=shown(self.size))

    def fingerprint(self, images: DataSet) -> str:
        """Return the fingerprint that the features of a data set have."""
        return self(images).fingerprint()

    def __call__(self, images: DataSet) -> DataSet:
        """Return images with what is known of their features."""
        return replace(images, embedded=Embedded(images, self.name, self.sha256, self.size))


Eye = Embedder | AsImages | StandIn
"""What a run's images go through when they are loaded."""


def stand_in(config: RunConfig, start: Event | None) -> AsImages | StandIn | None:
    """Return what a run's images go through where no features are wanted; None where its record does not say.

    Args:
        config: the run's.
        start: its first event.

    """
    began = StandIn.of(start) if config.data.backbone is not None else None
    return AsImages(began.size) if began is not None and config.data.finetune is not None else began


def fingerprint_with(embedder: Eye | None, images: DataSet) -> str:
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
        return embedder.fingerprint(images)
    except TrainerError as error:
        raise _placed(error) from error


def features_of(embedder: Eye | None, images: DataSet, progress: Progress | None = None) -> DataSet:
    """Return a data set of features in the place of its images.

    Args:
        embedder: what makes them; the images themselves come back where nothing does.
        images: the data set.
        progress: told how many are computed, of how many; on a terminal a bar shows it where nobody is told.

    Raises:
        PipelineError: they cannot be computed or kept.

    """
    if embedder is None:
        return images
    try:
        if not isinstance(embedder, Embedder):
            return embedder(images)
        return with_bar(embedder, images) if progress is None else embedder(images, progress)
    except TrainerError as error:
        raise _placed(error) from error


def _placed(error: Exception) -> PipelineError:
    """Return an error of the trainer as one that names the field, where it begins with its name."""
    return PipelineError(f"data.{error}" if str(error).startswith("backbone") else str(error))
