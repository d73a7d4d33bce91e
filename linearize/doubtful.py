"""Labels that look wrong: what kernel regression on all other labels makes of each."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from linearize.errors import LinearizeError
from linearize.linalg import cholesky
from linearize.posterior.factor import absolute_ridge

RIDGE = 0.1
"""λ relative to the kernel's mean diagonal.  The λ of look-ahead, next to nothing, makes every label explain itself."""


class LeftOut(NamedTuple):
    """What all other labels say of each labelled example.

    Args:
        predicted: what they predict of its one-hot label ``[L, C]``; no probabilities, but their order means the same.
        suggested: the class other than the given one that they predict most ``[L]``.
        lead: by how much they predict it more than the given one ``[L]``; above 0 they would not have given this label.

    """

    predicted: np.ndarray
    suggested: np.ndarray
    lead: np.ndarray

    @property
    def order(self) -> np.ndarray:
        """Positions ``[L]``, the label that looks most wrong first."""
        return np.argsort(-self.lead, kind="stable")


def left_out(
    theta: Float[np.ndarray, "L L"], labels: Int[np.ndarray, " L"], num_classes: int, ridge: float = RIDGE
) -> LeftOut:
    """Predict every label by kernel regression on all others, in one factorisation.

    With K = Θ(X,X) + λI and T = Y - 1/C, the residual of example i is e_i = (K⁻¹ T)_i / (K⁻¹)_ii, and what the others
    predict of it is Y_i - e_i.  Source: Rasmussen & Williams 2006, eqs. 5.10 to 5.12.

    It regresses the labels, not what the network has left of them: a converged network's residual Y - f(X) is about 0
    for wrong labels too.

    Args:
        theta: Θ(X,X) of the labelled examples, or the inner products of any features ``[L, L]``.
        labels: class numbers ``[L]``.
        num_classes: C, at least 2.
        ridge: λ > 0, relative to the mean of Θ's diagonal.

    Returns:
        Predictions, suggestions and leads.

    Raises:
        LinearizeError: the ridge is not positive.
        SingularKernelError: K cannot be factored.

    """
    if ridge <= 0:
        raise LinearizeError(f"ridge: expected a number above 0, got {ridge}")
    rows = np.arange(len(labels))
    Y = np.eye(num_classes)[labels]
    F, _ = cholesky(theta + absolute_ridge(theta, ridge) * np.eye(len(theta)))
    inverse = np.linalg.inv(F)
    A = inverse.T @ inverse  # K⁻¹ [L, L]
    predicted = Y - (A @ (Y - 1 / num_classes)) / np.diag(A)[:, None]
    others = np.where(Y == 1, -np.inf, predicted)
    suggested = others.argmax(1)
    return LeftOut(predicted, suggested, others[rows, suggested] - predicted[rows, labels])


def features_kernel(features: Float[np.ndarray, "L d"]) -> Float[np.ndarray, "L L"]:
    """Return the tangent kernel of a linear layer with a bias on features, ⟨h(x), h(x')⟩ + 1.

    Args:
        features: h(X) ``[L, d]``.

    """
    h = np.asarray(features, np.float64)
    return np.asarray(h @ h.T + 1.0)


def of_factor(F: Float[np.ndarray, "Lk Lk"], examples: int, lam: float) -> Float[np.ndarray, "L L"]:
    """Return Θ(X,X) from the factor of K = Θ(X,X) + λI, the mean over outputs where an example has several rows.

    Args:
        F: lower triangular, K = F Fᵀ ``[L k, L k]``.
        examples: L.
        lam: λ, absolute.

    """
    theta = F @ F.T - lam * np.eye(len(F))
    k = len(F) // examples
    blocks = theta.reshape(examples, k, examples, k)
    return np.asarray(np.einsum("ikjk->ij", blocks) / k)
