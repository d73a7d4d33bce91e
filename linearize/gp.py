"""A Gaussian process with a given kernel as the model itself: no network, no training.

The prior mean is 0 and Y one-hot, so K = Θ(X,X) + λI gives the posterior mean m(x) = Θ(x,X) K⁻¹ Y and covariance S.
With the infinite-width NTK, m is what networks of infinite width that begin at f ≡ 0 predict once trained on X.
"""

import numpy as np
from scipy.linalg import cho_solve

from linearize.linalg import cholesky
from linearize.regression import Regression, absolute_ridge, fit
from linearize.types import Float64, Kernel

RIDGE = 1e-6
"""The least λ, relative to the mean diagonal of Θ(X,X): a kernel without a network's rounding needs little."""


def gp_ridge(XX: Float64, ridge: float) -> float:
    """Return λ in the units of Θ(X,X) ``[L, L]`` from one relative to its mean diagonal, at least ``RIDGE``."""
    return absolute_ridge(XX, max(ridge, RIDGE))


def fit_gp(kernel: Kernel, Y: np.ndarray, *, ridge: float = 0.0) -> Regression:
    """Condition the process on the labelled set.

    m(x) = Θ(x,X) K⁻¹ Y.  Source: Rasmussen & Williams 2006, eqs. 2.25 and 2.26, for each class.

    Args:
        kernel: Θ's blocks over labelled ∪ pool.
        Y: one-hot targets ``[L, C]``.
        ridge: λ relative to the mean diagonal of Θ(X,X); at least ``RIDGE``.

    Returns:
        A state whose outputs f are m, with nothing left to train, a ≡ 0: a criterion's hypothetical label is then the
        process' own, and change is measured from its own mean.

    Raises:
        LinearizeError: the shapes do not fit together.
        SingularKernelError: K cannot be factored.

    """
    prior = np.zeros_like(Y, np.float64), np.zeros((kernel.XU.shape[1], Y.shape[1]))
    state = fit(kernel, *prior, Y, ridge=gp_ridge(kernel.XX, ridge))
    return state._replace(f=state.a, a=np.zeros_like(state.a))


def predict_gp(XX: Float64, TX: Float64, Y: np.ndarray, *, ridge: float = 0.0) -> Float64:
    """Return the posterior mean on other points, m(T) = Θ(T,X) K⁻¹ Y, ``[T, C]``.

    Args:
        XX: Θ(X,X) ``[L, L]``.
        TX: Θ(T,X) ``[T, L]``.
        Y: one-hot targets ``[L, C]``.
        ridge: as of ``fit_gp``.

    Raises:
        SingularKernelError: K cannot be factored.

    """
    F, _ = cholesky(XX + gp_ridge(XX, ridge) * np.eye(len(XX)))
    return np.asarray(TX @ cho_solve((F, True), np.asarray(Y, np.float64)))
