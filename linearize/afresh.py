"""The linearised network with one more label, solved afresh: what the block update saves.

f_lin⁺(x) = f(x) + Θ(x,X⁺) (Θ(X⁺,X⁺) + λI)⁻¹ (Y⁺ - f(X⁺)),    X⁺ = X ∪ {x'}

One Cholesky factorisation of L + 1 rows for every candidate, O(U L³) in all beside O(U² L C) for the pool's outputs.
"""

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from linearize.errors import SingularKernelError
from linearize.lookahead import pseudo_targets
from linearize.per_logit import PerLogit
from linearize.probabilities import Probabilities
from linearize.regression import Factored, Regression
from linearize.types import Float64, Progress


def scores_afresh(
    state: Regression | PerLogit,
    factored: Factored,
    lam: float,
    progress: Progress | None = None,
    probabilities: Probabilities = "simplex",
) -> Float64:
    """Score every candidate by MLMOC with reference ``network``, eq. 11 solved for each, ``[U]``.

    Equal to criterion ``mlmoc`` to rounding.  Source: look-ahead paper, eqs. 11 and 13 ("NTK w/o Block" in figure 1a).

    Args:
        state: the regression on the labelled set.
        factored: the factor that it was made of.
        lam: λ ≥ 0, absolute, any jitter included, with which it was factored.
        progress: called for each candidate.
        probabilities: what outputs mean, and so what labels ask of them.

    Raises:
        SingularKernelError: a candidate that is not redundant makes the kernel singular.

    """
    L, U, C = len(factored.F), *state.f.shape  # with the full kernel L counts rows, C an example
    rows, k = (state.rows, C) if isinstance(state, PerLogit) else (state, 1)
    assert isinstance(rows, Regression)
    R = np.vstack([factored.F @ factored.z, np.zeros((k, factored.z.shape[1]))])  # [L + k, C]; [L + C, 1] with full
    K = np.empty((L + k, L + k))
    K[:L, :L] = factored.F @ factored.F.T
    columns = np.empty((U * k, L + k))  # Θ(U,X⁺)
    columns[:, :L] = (factored.F @ factored.Phi).T
    r = pseudo_targets(state, probabilities) - state.f  # [U, C]
    scores = np.zeros(U)
    for candidate in np.flatnonzero(~state.redundant).tolist():
        if progress:
            progress(candidate, U)
        own = _own_rows(state, candidate)
        known = L + len(own)
        K[L:known, :L] = columns[own, :L]
        columns[:, L:known] = rows.S[:, own] + factored.Phi.T @ factored.Phi[:, own]  # Θ(U,x'), as the factor has it
        K[L:known, L:known] = columns[own, L:known] + lam * np.eye(len(own))
        K[:L, L:known] = K[L:known, :L].T
        R[L:known] = r[candidate].reshape(k, -1)[own - candidate * k]
        try:
            factor = cho_factor(K[:known, :known], lower=True, check_finite=False)
        except LinAlgError as error:
            raise SingularKernelError(
                f"the kernel with candidate {candidate} added is singular: set a ridge (kernel.ridge)"
            ) from error
        W = cho_solve(factor, R[:known], check_finite=False)
        scores[candidate] = np.linalg.norm((columns[:, :known] @ W).reshape(U, C), axis=1).sum()
    if progress:
        progress(U, U)
    return scores


def _own_rows(state: Regression | PerLogit, candidate: int) -> np.ndarray:
    """Which rows of Θ a candidate adds: its own, and with the full kernel those of its logits that tell something."""
    if isinstance(state, PerLogit):
        return candidate * state.classes + np.flatnonzero(state.telling(np.array([candidate]))[0])
    return np.array([candidate])
