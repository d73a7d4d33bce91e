"""A data set of images becomes one of a backbone's features: computed once, kept, and mapped from then on."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from common.cache import user_cache
from trainer.backbones import open_backbone
from trainer.backbones.base import Backbone, Size
from trainer.backbones.network import on_images, require_channels
from trainer.backbones.store import Progress, kept_features
from trainer.data.arrays import DataSet, Embedded, Split
from trainer.data.constants import CHUNK_BYTES
from trainer.data.custom import ImageOptions
from trainer.errors import TrainerError

BATCH = 16
"""Images that go through a backbone at once: more do not stay in a processor's cache."""
STORE = "features"


class Embedder:
    """A backbone, the size that it sees, and where its features are kept.

    Args:
        name: of the backbone.
        size: pixels of a side that the user gave; None for what suits backbone and images.
        store: folder of all kept features; None for the user's cache directory.
        device: returns where features are computed, once they are.

    Raises:
        TrainerError: there is no such backbone, or it takes no such size; one line.

    """

    def __init__(
        self,
        name: str,
        size: int | None = None,
        store: Path | None = None,
        device: Callable[[], str] = lambda: "cpu",
    ) -> None:
        self.backbone: Backbone = open_backbone(name)
        self._given, self._store, self._device = size, store, device
        self.backbone.size_for(size)

    def options(self, options: ImageOptions) -> ImageOptions:
        """Return how the images of a folder are read: at the backbone's size, where nobody names another.

        Args:
            options: as the user gave them.

        """
        if options.image_size is not None:
            return options
        height, width = self.backbone.size_for(self._given)
        return dataclasses.replace(options, image_size=f"{height}x{width}")

    def facts(self, images: DataSet) -> Embedded:
        """Return what the features of a data set are, without computing them: enough for its fingerprint.

        Args:
            images: the data set.

        Raises:
            TrainerError: it holds features already, or images that the backbone does not take.

        """
        if images.holds_features:
            raise TrainerError(
                f"backbone {self.backbone.name}: expected images, but {images.name} holds features of them: leave the "
                "backbone out"
            )
        channels, height, width = images.input_shape
        require_channels(self.backbone, channels)
        size = self.backbone.size_for(self._given, (height, width))
        return Embedded(images, self.backbone.name, self.backbone.sha256, size)

    def fingerprint(self, images: DataSet) -> str:
        """Return the fingerprint that the features of a data set have, without computing them.

        Args:
            images: the data set.

        """
        return self.facts(images).fingerprint(images.classes)

    def __call__(
        self, images: DataSet, progress: Progress | None = None, beginning: Callable[[], None] = lambda: None
    ) -> DataSet:
        """Return a data set with features in the place of images; all else is that of the images.

        Features are centred, each by its mean over the training half, and all divided by one number, the root mean
        square of their deviations: those that say little of these images are not blown up (benchmarks/RESULTS.md).

        Args:
            images: the data set.
            progress: told how many of how many images have features, where some lack them.
            beginning: called before features are computed, not where all are kept.

        Raises:
            TrainerError: as of ``facts``; the features cannot be kept; or they are not finite.

        """
        facts = self.facts(images)
        n_train, n = len(images.train), len(images.train) + len(images.test)
        compute = _Computing(self.backbone, facts.size, images, self._device, beginning)
        root = self._store if self._store is not None else _usual_store()
        kept = kept_features(root, _origin(facts), n, compute, progress)
        features = kept.features[:, :, None, None]
        mean, spread = scaling(kept.features[:n_train])
        return dataclasses.replace(
            images,
            train=Split(features[:n_train], images.train.labels),
            test=Split(features[n_train:], images.test.labels),
            scale=1.0,
            mean=mean,
            std=(spread,) * len(mean),
            said=(*images.said, *([kept.note] if kept.note else [])),
            embedded=facts,
        )


def scaling(features: NDArray[np.float32]) -> tuple[tuple[float, ...], float]:
    """Return what features are centred by and divided by: ``(h - m) / s`` with ``s^2 = mean of (h - m)^2``.

    Args:
        features: h, ``[N, d]``.

    Returns:
        The means m ``[d]``, and s; 1 where all features are the same.

    """
    step = max(1, CHUNK_BYTES // (8 * features.shape[1]))
    pieces = [features[start : start + step] for start in range(0, len(features), step)]
    mean = sum(piece.sum(axis=0, dtype=np.float64) for piece in pieces) / len(features)  # [d]
    square = sum(float(((piece - mean) ** 2).sum()) for piece in pieces) / features.size
    return tuple(np.asarray(mean).tolist()), float(np.sqrt(square)) or 1.0


class _Computing:
    """Computes features by the positions of images, training half first; the network is built when it is needed."""

    def __init__(
        self, backbone: Backbone, size: Size, images: DataSet, device: Callable[[], str], beginning: Callable[[], None]
    ) -> None:
        self._backbone, self._size, self._images = backbone, size, images
        self._device_of, self._beginning = device, beginning
        self._net: torch.nn.Module | None = None

    def __call__(self, first: int, last: int) -> NDArray[np.float32]:
        if self._net is None:
            self._beginning()
            self._device = self._device_of()
            self._net = on_images(self._backbone, self._size, self._images.input_shape[0]).to(self._device)
        parts = [self._features(start, min(start + BATCH, last)) for start in range(first, last, BATCH)]
        features = np.concatenate(parts)
        if not np.isfinite(features).all():
            raise TrainerError(f"backbone {self._backbone.name}: its features of some images are not finite")
        return features

    @torch.inference_mode()
    def _features(self, first: int, last: int) -> NDArray[np.float32]:
        assert self._net is not None
        n = len(self._images.train)
        of_test = slice(max(first - n, 0), max(last - n, 0))
        halves = (self._images.train.images[first : min(last, n)], self._images.test.images[of_test])
        x = torch.from_numpy(np.concatenate(halves)).to(self._device).float() / self._images.scale
        features: NDArray[np.float32] = self._net(x).float().cpu().numpy()
        return features


def _origin(facts: Embedded) -> dict[str, object]:
    """Return all that decides about features: images, without their labels and names, backbone and size."""
    return {"backbone": facts.sha256, "size": list(facts.size), "bytes": facts.images.pixels_sha256}


def _usual_store() -> Path:
    try:
        return user_cache(STORE)
    except RuntimeError as error:
        raise TrainerError(f"{error}: name a folder for features with --set data.feature_store=FOLDER") from error
