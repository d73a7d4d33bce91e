"""What a network is trained towards: labels as one-hot rows."""

import numpy as np
from numpy.typing import NDArray

from trainer.errors import TrainerError


def one_hot(labels: NDArray[np.int64], num_classes: int) -> NDArray[np.float32]:
    """Return one-hot targets: row i is 1 at ``labels[i]`` and 0 elsewhere.

    Args:
        labels: class numbers, integers ``[L]``.
        num_classes: number of columns C.

    Returns:
        float32 ``[L, C]``.

    Raises:
        TrainerError: labels that are not integers in ``[0, num_classes)``.

    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise TrainerError(f"labels must be integers [L], got {labels.dtype} {list(labels.shape)}")
    if labels.size and not (labels.min() >= 0 and labels.max() < num_classes):
        raise TrainerError(
            f"labels must lie in 0..{num_classes - 1}, got {labels.min()}..{labels.max()}; check the number of classes"
        )
    y = np.zeros((len(labels), num_classes), np.float32)
    y[np.arange(len(labels)), labels] = 1
    return y
