"""Class probabilities from a network's outputs, and the functions of them that say how unsure they are."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Probabilities:
    """A map from outputs to class probabilities.

    Args:
        name: what code that is fast for one of them knows it by.
        of: maps outputs ``[..., C]`` to probabilities ``[..., C]``, float64.

    """

    name: str
    of: Callable[[np.ndarray], Float64]


def simplex_threshold(outputs: np.ndarray) -> Float64:
    """Return the τ of each row's projection onto the simplex, Σ_c max(f_c - τ, 0) = 1.

    τ = max_k (f_(1) + ... + f_(k) - 1) / k over the outputs in falling order.  Source: Duchi et al. 2008, fig. 1.

    Args:
        outputs: f ``[..., C]``.

    Returns:
        τ ``[...]``.

    """
    f = np.asarray(outputs, np.float64)
    descending = -np.sort(-f, axis=-1)
    return ((np.cumsum(descending, axis=-1) - 1) / np.arange(1, f.shape[-1] + 1)).max(axis=-1)


def project_onto_simplex(outputs: np.ndarray) -> Float64:
    """Return the Euclidean projection of each row onto the probability simplex.

    p = max(f - τ, 0) with τ such that Σ_c p_c = 1.  Source: Duchi et al. 2008, fig. 1.

    Args:
        outputs: f ``[..., C]``.

    Returns:
        Probabilities ``[..., C]``.

    """
    f = np.asarray(outputs, np.float64)
    return np.maximum(f - simplex_threshold(f)[..., None], 0)


def softmax(outputs: np.ndarray) -> Float64:
    """Return exp(f_c) / Σ_k exp(f_k) of each row.

    Args:
        outputs: f ``[..., C]``.

    Returns:
        Probabilities ``[..., C]``.

    """
    f = np.asarray(outputs, np.float64)
    e = np.exp(f - f.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


SIMPLEX = Probabilities("simplex", project_onto_simplex)
"""Of outputs that training drives to one-hot vectors; their softmax would be nearly flat."""
SOFTMAX = Probabilities("softmax", softmax)
"""Of logits."""


def entropy(p: np.ndarray) -> Float64:
    """Return H = -Σ_c p_c log p_c of each row, with 0 log 0 = 0.  Source: Settles 2009, sec. 3.1.

    Args:
        p: probabilities ``[N, C]``.

    Returns:
        Nats ``[N]``.

    """
    positive = p > 0
    return -np.where(positive, p * np.log(np.where(positive, p, 1.0)), 0.0).sum(axis=1)


def negative_margin(p: np.ndarray) -> Float64:
    """Return p_(2) - p_(1), minus the gap between each row's two likeliest classes.  Source: Scheffer et al. 2001.

    Args:
        p: probabilities ``[N, C]``.

    Returns:
        ``[N]``, from -1 (sure) to 0.

    """
    second, first = np.sort(p, axis=1)[:, -2:].T if p.shape[1] > 1 else (np.zeros(len(p)), p[:, 0])
    return np.asarray(second - first)


def lack_of_confidence(p: np.ndarray) -> Float64:
    """Return 1 - max_c p_c of each row.  Source: Lewis & Gale 1994.

    Args:
        p: probabilities ``[N, C]``.

    Returns:
        ``[N]``.

    """
    return np.asarray(1 - p.max(axis=1))
