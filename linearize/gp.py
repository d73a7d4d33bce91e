"""A Gaussian process with a given kernel as the model itself: no network, no training.

The prior mean is 0 and Y one-hot, so K = Θ(X,X) + λI gives the posterior mean m(x) = Θ(x,X) K⁻¹ Y and covariance S.
With the infinite-width NTK, m is what networks of infinite width that begin at f ≡ 0 predict once trained on X.
"""

from dataclasses import replace

import numpy as np

from linearize.posterior import Dense, Targets, absolute_ridge
from linearize.types import Kernel

RIDGE = 1e-6
"""The least λ, relative to the mean diagonal of Θ(X,X): a kernel without a network's rounding needs little."""


def fit_gp(kernel: Kernel, Y: np.ndarray, *, ridge: float = 0.0) -> Dense:
    """Condition the process on the labelled set.

    m(x) = Θ(x,X) K⁻¹ Y.  Source: Rasmussen & Williams 2006, eqs. 2.25 and 2.26, for each class.

    Args:
        kernel: Θ's blocks over labelled ∪ pool.
        Y: one-hot targets ``[L, C]``.
        ridge: λ relative to the mean diagonal of Θ(X,X); at least ``RIDGE``.

    Returns:
        A posterior whose outputs f are m, with nothing left to train, a ≡ 0: a criterion's hypothetical label is then
        the process' own, and change is measured from its own mean.

    Raises:
        LinearizeError: the shapes do not fit together.
        SingularKernelError: K cannot be factored.

    """
    nothing = Targets(np.zeros_like(Y, np.float64), np.zeros((kernel.XU.shape[1], Y.shape[1])), Y)
    posterior = Dense.init(kernel, nothing, ridge=absolute_ridge(kernel.XX, max(ridge, RIDGE)))
    return replace(posterior, f=posterior.mean)
