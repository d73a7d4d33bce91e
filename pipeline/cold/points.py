"""Samples as points, before any network: features as they are, images shrunk; near ones look or mean alike."""

import math

import numpy as np

from trainer.data import DataSet

SIDE = 16
"""Pixels of height and width, at most, that an image is shrunk to."""
DIMENSIONS = 64
"""Principal components that clusters are looked for in."""
BLOCK_BYTES = 32 * 2**20  # of the normalised samples that are held at once before they are shrunk


def vectors(data: DataSet, ids: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Return training samples as vectors, normalised as networks see them: features, or images shrunk by block means.

    Args:
        data: the data set.
        ids: data-set-absolute ``[n]``.
        side: pixels of height and width, at most.

    Returns:
        float32 ``[n, d]``.

    """
    images, parts = data.view("train"), list[np.ndarray]()
    whole = min(data.input_shape[1:]) == 1  # features, also where they are stored as one row of pixels
    block = max(1, BLOCK_BYTES // (4 * math.prod(data.input_shape)))
    for start in range(0, len(ids), block):
        x = images(ids[start : start + block])  # [B, C, H, W]
        parts.append((x if whole else shrunk(x, side)).reshape(len(x), -1))
    return np.concatenate(parts) if parts else np.empty((0, math.prod(data.input_shape)), np.float32)


def shrunk(x: np.ndarray, side: int) -> np.ndarray:
    """Return images of at most ``side`` pixels, each the mean of its block; blocks differ by a pixel at most.

    Args:
        x: ``[B, C, H, W]``.
        side: pixels of height and width, at most.

    """
    for axis in (2, 3):
        size = x.shape[axis]
        if size > side:
            bounds = np.arange(side + 1) * size // side
            counts = np.diff(bounds).reshape([-1 if a == axis else 1 for a in range(4)])
            x = np.add.reduceat(x, bounds[:-1], axis=axis) / counts.astype(x.dtype)
    return x


def unit_vectors(points: np.ndarray) -> np.ndarray:
    """Return points seen from their mean, each at distance 1; one that is the mean is 0.

    Args:
        points: ``[n, d]``.

    Returns:
        float32 ``[n, d]``.

    """
    centred = points - points.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.where(lengths > 1e-6, lengths, 1), np.float32)


def directions(points: np.ndarray, seed: int, dimensions: int = DIMENSIONS) -> np.ndarray:
    """Return points seen from their mean, each at distance 1, in their principal components.

    Args:
        points: ``[n, d]``.
        seed: of the approximate decomposition.
        dimensions: how many components at most.

    Returns:
        float32 ``[n, min(d, dimensions)]``; a point that is the mean is 0.

    """
    unit = unit_vectors(points)
    if min(unit.shape) <= dimensions:
        return unit
    from sklearn.utils.extmath import randomized_svd

    U, S, _ = randomized_svd(unit - unit.mean(axis=0), dimensions, random_state=seed % 2**32)
    return np.asarray(U * S, np.float32)
