"""The block update: the linearised network after one more label, without solving anything again.

Equation 11 of the look-ahead paper solves with the kernel of X⁺ = X ∪ {x'}.  Its bordered inverse gives eq. 12, which
prints v = Θ(X,X) Θ(X,x') where v = Θ(X,X)⁻¹ Θ(X,x') is meant; with it the update is of rank one:

    f_lin⁺(x) = f_lin(x) + S(x,x')/u(x') · r(x')ᵀ,    r(x') = y' - f_lin(x')
"""

import numpy as np

from linearize.per_logit import PerLogit
from linearize.probabilities import Probabilities
from linearize.regression import Regression
from linearize.residuals import Pull, targets
from linearize.types import Float64


def pseudo_labels(state: Regression | PerLogit) -> np.ndarray:
    """Return the most likely label of every candidate, argmax_c f_c(x'), ``[U]``.  Source: look-ahead paper, alg. 1."""
    return state.f.argmax(axis=1)


def pseudo_targets(state: Regression | PerLogit, probabilities: Probabilities = "simplex") -> Float64:
    """Return the targets y' that the likeliest labels of all candidates stand for, ``[U, C]``."""
    return targets(state.f_lin, np.eye(state.f.shape[1])[pseudo_labels(state)], probabilities)


def pseudo_residual(state: Regression | PerLogit, probabilities: Probabilities = "simplex") -> Float64:
    """Return r(x') = y' - f_lin(x') of every candidate, y' of its likeliest label, ``[U, C]``."""
    return Pull.of(state.f_lin, probabilities).residual(pseudo_labels(state))


def label_target(f_lin: Float64, candidate: int, label: int, probabilities: Probabilities) -> Float64:
    """Return the target y' that a label of a candidate stands for in the block update, ``[C]``.

    Args:
        f_lin: the linearised network's outputs ``[U, C]``.
        candidate: position of x' in the pool.
        label: its class.
        probabilities: what outputs mean.

    """
    y = np.eye(f_lin.shape[1])[label]
    return targets(f_lin[candidate : candidate + 1], y[None], probabilities)[0]


def influence(state: Regression, candidates: np.ndarray) -> Float64:
    """Return q(x, x') = S(x,x')/u(x') for some candidates x', ``[U, B]``; zero where a candidate is redundant."""
    return np.where(state.redundant[candidates], 0.0, state.S[:, candidates] / state.u[candidates])


def look_ahead(state: Regression | PerLogit, candidate: int, y: np.ndarray) -> Float64:
    """Predict the pool's outputs after ``candidate`` is labelled ``y`` and the network retrained.

    f_lin⁺(x) = f_lin(x) + S(x,x')/u(x') · (y - f_lin(x'))ᵀ.  Source: look-ahead paper, eq. 12 (with its erratum).

    Args:
        state: the regression on the labelled set.
        candidate: position of x' in the pool.
        y: its hypothetical target ``[C]``.

    Returns:
        f_lin⁺ on the pool ``[U, C]``; unchanged where the candidate is redundant.

    """
    if isinstance(state, PerLogit):
        return state.look_ahead(candidate, y)
    q = influence(state, np.array([candidate]))  # [U, 1]
    return state.f_lin + q * (y - state.f_lin[candidate])[None]
