"""The linearised network with one more label, solved afresh: what the block update saves.

f_lin⁺(x) = f(x) + Θ(x,X⁺) (Θ(X⁺,X⁺) + λI)⁻¹ (Y⁺ - f(X⁺)),    X⁺ = X ∪ {x'}

One Cholesky factorisation of L + 1 rows for every candidate, O(U L³) in all beside O(U² L C) for the pool's outputs.
"""

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from linearize.errors import SingularKernelError
from linearize.lookahead import pseudo_labels
from linearize.per_logit import PerLogit
from linearize.regression import Factored, Regression
from linearize.types import Float64, Progress


def scores_afresh(
    state: Regression | PerLogit, factored: Factored, lam: float, progress: Progress | None = None
) -> Float64:
    """Score every candidate by MLMOC with reference ``network``, eq. 11 solved for each, ``[U]``.

    Equal to criterion ``mlmoc`` to rounding.  Source: look-ahead paper, eqs. 11 and 13 ("NTK w/o Block" in figure 1a).

    Args:
        state: the regression on the labelled set.
        factored: the factor that it was made of.
        lam: λ ≥ 0, absolute, any jitter included, with which it was factored.
        progress: called for each candidate.

    Raises:
        SingularKernelError: a candidate that is not redundant makes the kernel singular.

    """
    L, U, C = len(factored.F), *state.f.shape  # with the full kernel L counts rows, C an example
    rows, k = (state.rows, C) if isinstance(state, PerLogit) else (state, 1)
    assert isinstance(rows, Regression)
    UU = rows.S + factored.Phi.T @ factored.Phi  # [U k, U k]; Θ's blocks, as the factor was made of them
    K = np.empty((L + k, L + k))
    K[:L, :L] = factored.F @ factored.F.T
    columns = np.empty((U * k, L + k))  # Θ(U,X⁺)
    columns[:, :L] = (factored.F @ factored.Phi).T
    z = factored.z
    R = np.vstack([factored.F @ z, np.zeros((k, z.shape[1]))])  # [L + k, C], or [L + C, 1] with the full kernel
    r = np.eye(C)[pseudo_labels(state)] - state.f  # [U, C]
    scores = np.zeros(U)
    for candidate in np.flatnonzero(~state.redundant).tolist():
        if progress:
            progress(candidate, U)
        own = slice(candidate * k, (candidate + 1) * k)
        K[L:, :L], K[L:, L:] = columns[own, :L], UU[own, own] + lam * np.eye(k)
        K[:L, L:] = K[L:, :L].T
        columns[:, L:] = UU[:, own]
        R[L:] = r[candidate].reshape(k, -1)
        try:
            W = cho_solve(cho_factor(K, lower=True, check_finite=False), R, check_finite=False)
        except LinAlgError as error:
            raise SingularKernelError(
                f"the kernel with candidate {candidate} added is singular: set a ridge (kernel.ridge)"
            ) from error
        scores[candidate] = np.linalg.norm((columns @ W).reshape(U, C), axis=1).sum()
    if progress:
        progress(U, U)
    return scores
