"""Images for a network whose backbone is trained on: as they are, for it scales and normalises them itself."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from trainer.backbones.base import Size, shown
from trainer.backbones.store import Progress
from trainer.data.arrays import DataSet
from trainer.data.custom import ImageOptions
from trainer.errors import TrainerError
from trainer.models.on_backbone import PREFIX


class AsImages:
    """What stands in the place of ``Embedder`` where a backbone is trained on.

    Args:
        size: that the images of a folder are read at, where nobody names another.

    """

    def __init__(self, size: Size) -> None:
        self._size = size

    def options(self, options: ImageOptions) -> ImageOptions:
        """Return how the images of a folder are read, as ``Embedder.options`` does."""
        if options.image_size is not None:
            return options
        return dataclasses.replace(options, image_size=shown(self._size))

    def fingerprint(self, images: DataSet) -> str:
        """Return the fingerprint of what a call returns."""
        return self(images).fingerprint()

    def __call__(
        self, images: DataSet, progress: Progress | None = None, beginning: Callable[[], None] = lambda: None
    ) -> DataSet:
        """Return a data set whose inputs are values from 0 to 1.

        Args:
            images: the data set.
            progress: told of nothing.
            beginning: not called.

        Raises:
            TrainerError: it holds features.

        """
        if images.holds_features:
            raise TrainerError(f"backbone: expected images to train it on, but {images.name} holds features of them")
        channels = images.input_shape[0]
        return dataclasses.replace(images, mean=(0.0,) * channels, std=(1.0,) * channels)


FROZEN_MODEL: Mapping[str, Any] = {"name": "linear", "options": {"unit_length": True}}
"""What learns from a frozen backbone's features, where no network is named."""


def tuned_model(backbone: str, finetune: str, size: int | None) -> dict[str, Any]:
    """Return name and options of the network that a backbone with a new last layer is.

    Args:
        backbone: its name.
        finetune: what is trained, ``head`` or ``all``.
        size: pixels of a side that it sees.

    """
    return {"name": f"{PREFIX}{backbone}", "options": {"train": finetune} | ({} if size is None else {"size": size})}
