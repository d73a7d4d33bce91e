"""Class probabilities from a network's outputs, matched to the loss that trained it."""

import numpy as np

from linearize.probabilities import Probabilities, project_onto_simplex, softmax
from linearize.residuals import cross_entropy


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


def meaning_on(loss: str, outputs: np.ndarray, Y: np.ndarray) -> Probabilities:
    """Return what the outputs mean where no service is fitted, from the network's outputs on the labelled set.

    Args:
        loss: the loss the network was trained with.
        outputs: ``[L, C]``.
        Y: one-hot labels ``[L, C]``.

    """
    return cross_entropy(outputs, Y) if loss == "cross-entropy" else "simplex"


def told(outputs: np.ndarray, loss: str) -> np.ndarray:
    """Return what training drives towards the one-hot labels, ``[N, C]``: outputs, or their softmax."""
    return softmax(outputs) if loss == "cross-entropy" else outputs
