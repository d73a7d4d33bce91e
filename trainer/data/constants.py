"""The constants that normalise a user's own images and features, from the data itself."""

import numpy as np
from numpy.typing import NDArray

from trainer.data.by_id import Stored
from trainer.errors import TrainerError

BYTE_SCALE = 255.0
CHUNK_BYTES = 2**22  # looked at in one piece when an array is counted or compared


def constants(images: Stored) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of every channel of images, or of every feature.

    Args:
        images: uint8 ``[N, C, H, W]`` or features, float32 ``[N, d, 1, 1]``.

    """
    if images.dtype == np.uint8:
        return channel_constants(images.astype(np.uint8, copy=False))
    return feature_constants(images.astype(np.float32, copy=False))


def require_variety(where: str, samples: Stored) -> None:
    """Refuse images that are of one value in every place, and features that are the same of every sample.

    Nothing can be learned from them, so something ate what was in them.

    Args:
        where: they lie, which begins the message; empty where the caller says it.
        samples: of the training half, ``[N, C, H, W]``.

    Raises:
        TrainerError: they are.

    """
    one = samples[:1, :1, :1, :1] if samples.dtype == np.uint8 else samples[:1]
    step = max(1, CHUNK_BYTES // max(1, samples[:1].nbytes))
    if len(samples) > 1 and all((samples[n : n + step] == one).all() for n in range(0, len(samples), step)):
        has = f"have the value {one.item()} in every place" if one.size == 1 else "have the same features"
        raise TrainerError(
            f"{where}expected training samples that differ, but all {len(samples):,} {has}; look at how they were "
            f"scaled and saved{' (of 16-bit colours, the upper 8 bits are read)' if one.size == 1 else ''}"
        )


def channel_constants(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of every channel of images, from exact counts of each byte divided by 255.

    Args:
        images: uint8 ``[N, C, H, W]``.

    Returns:
        Means ``[C]`` and standard deviations ``[C]``; a channel of one value gets the deviation 1.

    """
    step = max(1, CHUNK_BYTES // max(1, images[:1].size))
    counts = np.zeros((images.shape[1], 256))
    for start in range(0, len(images), step):
        counts += count_bytes(images[start : start + step])
    return byte_constants(counts)


def count_bytes(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how often each channel has each value, ``[C, 256]``.

    Args:
        images: uint8 ``[N, C, H, W]``.

    """
    return np.stack([np.bincount(channel.ravel(), minlength=256) for channel in images.swapaxes(0, 1)])


def byte_constants(counts: NDArray[np.float64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of every channel from the counts of each byte divided by 255.

    Args:
        counts: ``[C, 256]``.

    Returns:
        Means ``[C]`` and standard deviations ``[C]``; a channel of one value, or of none, gets the deviation 1.

    """
    value = np.arange(256) / BYTE_SCALE
    total = np.maximum(counts.sum(axis=1), 1)
    mean = counts @ value / total  # [C]
    std = np.sqrt((counts * (value - mean[:, None]) ** 2).sum(axis=1) / total)  # [C]
    return tuple(mean.tolist()), tuple(float(s) if s > 0 else 1.0 for s in std)


def feature_constants(features: NDArray[np.float32]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of every feature, in float64 and in pieces.

    Args:
        features: float32 ``[N, d, 1, 1]``.

    Returns:
        Means ``[d]`` and standard deviations ``[d]``; a feature of one value gets the deviation 1.

    """
    n, d = features.shape[:2]
    step = max(1, CHUNK_BYTES // (8 * d))
    pieces = [features[start : start + step, :, 0, 0] for start in range(0, n, step)]
    mean = np.sum([piece.sum(axis=0, dtype=np.float64) for piece in pieces], axis=0) / n  # [d]
    std = np.sqrt(np.sum([((piece - mean) ** 2).sum(axis=0) for piece in pieces], axis=0) / n)  # [d]
    return tuple(mean.tolist()), tuple(float(s) if s > 1e-6 * abs(m) else 1.0 for m, s in zip(mean, std, strict=True))
