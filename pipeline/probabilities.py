"""Class probabilities from a network's outputs, matched to the loss that trained it."""

import numpy as np


def project_onto_simplex(outputs: np.ndarray) -> np.ndarray:
    """Return the Euclidean projection of each row onto the probability simplex.

    p = max(f - τ, 0) with τ such that Σ_c p_c = 1.  Source: Duchi et al., ICML 2008, fig. 1.

    Args:
        outputs: ``[N, C]``.

    Returns:
        Probabilities ``[N, C]``, float64.

    """
    f = np.asarray(outputs, np.float64)
    C = f.shape[1]
    descending = -np.sort(-f, axis=1)
    thresholds = (np.cumsum(descending, axis=1) - 1) / np.arange(1, C + 1)  # τ if exactly k classes are kept
    kept = (descending > thresholds).sum(axis=1)
    tau = thresholds[np.arange(len(f)), kept - 1]
    return np.maximum(f - tau[:, None], 0)


def softmax(outputs: np.ndarray) -> np.ndarray:
    """Return exp(f_c) / Σ_k exp(f_k) of each row, ``[N, C]``, float64."""
    shifted = np.asarray(outputs, np.float64)
    shifted = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def probabilities(outputs: np.ndarray, loss: str) -> np.ndarray:
    """Return class probabilities: softmax for cross-entropy, the projection onto the simplex for the L2 loss.

    The softmax of an L2-trained network's outputs would be nearly flat: its targets are 0 and 1, not ±∞.

    Args:
        outputs: ``[N, C]``.
        loss: the loss the network was trained with.

    Returns:
        Probabilities ``[N, C]``, float64.

    """
    return softmax(outputs) if loss == "cross-entropy" else project_onto_simplex(outputs)
