"""Class probabilities from a network's outputs: one function for each loss that trains networks."""

from typing import Literal, get_args

import numpy as np

from linearize.errors import LinearizeError
from linearize.types import Float64

Probabilities = Literal["simplex", "softmax"]
"""``simplex`` for networks trained with the L2 loss, ``softmax`` for those trained with cross-entropy."""


def check_probabilities(name: Probabilities) -> Probabilities:
    """Return a name of probabilities that is one.

    Raises:
        LinearizeError: it is none.

    """
    if name not in get_args(Probabilities):
        raise LinearizeError(f"probabilities: expected one of {', '.join(get_args(Probabilities))}; got {name!r}")
    return name


def class_probabilities(outputs: np.ndarray, name: Probabilities) -> Float64:
    """Return the probabilities ``[N, C]`` that outputs ``[N, C]`` mean."""
    return softmax(outputs) if name == "softmax" else project_onto_simplex(outputs)


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
