"""Class probabilities from a network's outputs: one function for each loss that trains networks."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from linearize.errors import LinearizeError
from linearize.types import Float64

Name = Literal["simplex", "softmax"]
"""``simplex`` for networks trained with the L2 loss, ``softmax`` for those trained with cross-entropy."""


@dataclass(frozen=True)
class CrossEntropy:
    """The softmax of a network trained with cross-entropy, whose labels pull by step · (onehot - softmax(f)).

    The name ``softmax`` alone says what outputs mean; labels then pull by onehot - f, as with the L2 loss.
    """

    step: float


Probabilities = Name | CrossEntropy
"""What outputs mean, and with ``CrossEntropy`` what labels ask of them: see ``linearize.residuals``."""


def check_probabilities(name: Probabilities) -> Probabilities:
    """Return a name of probabilities that is one.

    Raises:
        LinearizeError: it is none.

    """
    if not isinstance(name, CrossEntropy) and name not in get_args(Name):
        raise LinearizeError(f"probabilities: expected one of {', '.join(get_args(Name))}; got {name!r}")
    return name


def class_probabilities(outputs: np.ndarray, name: Probabilities) -> Float64:
    """Return the probabilities ``[N, C]`` that outputs ``[N, C]`` mean."""
    return project_onto_simplex(outputs) if name == "simplex" else softmax(outputs)


def project_onto_simplex(outputs: np.ndarray) -> Float64:
    """Return the Euclidean projection of each row onto the probability simplex.

    p = max(f - τ, 0) with τ such that Σ_c p_c = 1.  Source: Duchi et al., ICML 2008, fig. 1.

    Args:
        outputs: ``[N, C]``.

    Returns:
        Probabilities ``[N, C]``.

    """
    f = np.asarray(outputs, np.float64)
    return np.maximum(f - simplex_threshold(f)[:, None], 0)


def simplex_threshold(outputs: np.ndarray) -> Float64:
    """Return the τ of each row's projection onto the simplex, Σ_c max(f_c - τ, 0) = 1, ``[N]``.

    τ = max_k (f_(1) + ... + f_(k) - 1) / k over the outputs in falling order.  Source: Duchi et al., ICML 2008, fig. 1.
    """
    f = np.asarray(outputs, np.float64)
    descending = -np.sort(-f, axis=1)
    return ((np.cumsum(descending, axis=1) - 1) / np.arange(1, f.shape[1] + 1)).max(axis=1)


def softmax(outputs: np.ndarray) -> Float64:
    """Return exp(f_c) / Σ_k exp(f_k) of each row, ``[N, C]``."""
    f = np.asarray(outputs, np.float64)
    e = np.exp(f - f.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
