"""How well features tell classes apart, for a person to watch: it decides nothing."""

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 5


def neighbours_accuracy(h: NDArray[np.float32], labels: NDArray[np.int64], k: int = NEIGHBOURS) -> float:
    """Return the share of samples whose class most of their nearest neighbours have, each sample left out of its own.

    Nearest by cosine; of classes with equally many votes, that with the larger sum of cosines counts.

    Source: Wu et al. 2018, section 3.4, with weights only where votes are equal.

    Args:
        h: features ``[N, d]``.
        labels: class numbers ``[N]``.
        k: neighbours that vote, fewer than N - 1.

    """
    u = h / np.maximum(np.linalg.norm(h, axis=1, keepdims=True), 1e-12)
    s = u @ u.T  # [N, N]
    np.fill_diagonal(s, -np.inf)
    nearest = np.argpartition(-s, k, axis=1)[:, :k]  # [N, k]
    votes = np.zeros((len(h), int(labels.max()) + 1))
    for column in nearest.T:
        rows = np.arange(len(h))
        votes[rows, labels[column]] += 1 + 1e-3 * s[rows, column]
    return float(np.mean(votes.argmax(axis=1) == labels))
