"""Class probabilities from a network's outputs, matched to the loss that trained it."""

import numpy as np

from linearize.probabilities import project_onto_simplex, softmax


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
