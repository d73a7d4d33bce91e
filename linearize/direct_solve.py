"""The linearised network with one more label, by a direct solve: what the block update saves.

f_lin⁺(x) = f(x) + Θ(x,X⁺) (Θ(X⁺,X⁺) + λI)⁻¹ (Y⁺ - f(X⁺)),    X⁺ = X ∪ {x'}

One Cholesky factorisation of L + 1 rows for every candidate, O(U L³) in all beside O(U² L C) for the pool's outputs.
"""

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from common.losses import L2, Loss
from linearize.criteria.generic import likeliest
from linearize.errors import SingularKernelError
from linearize.posterior import Posterior
from linearize.types import Progress


def scores_by_direct_solve(posterior: Posterior, loss: Loss = L2, progress: Progress | None = None) -> np.ndarray:
    """Score every candidate by MLMOC with reference ``network``, eq. 11 solved for each, ``[U]``.

    Equal to criterion ``mlmoc`` to rounding.  Source: Mohamadi, Bae & Sutherland 2022, eqs. 11 and 13 ("NTK w/o Block"
    in figure 1a).

    Args:
        posterior: of the labelled set, without answers.
        loss: that trained the network, calibrated.
        progress: called for each candidate.

    Raises:
        SingularKernelError: a candidate that is not redundant makes the kernel singular.

    """
    labelled, k = posterior.labelled, posterior.outputs
    L, (U, C), lam = len(labelled.F), posterior.f.shape, labelled.lam
    R = np.vstack([labelled.F @ labelled.z, np.zeros((k, C // k))])  # [(L + 1) k, C/k]
    K = np.empty((L + k, L + k))
    K[:L, :L] = labelled.F @ labelled.F.T
    columns = np.empty((U * k, L + k))  # Θ(U,X⁺)
    columns[:, :L] = (labelled.F @ labelled.Phi).T
    r = loss.target(posterior.mean, likeliest(posterior)) - posterior.f  # [U, C]
    scores = np.zeros(U)
    for candidate in np.flatnonzero(~posterior.redundant).tolist():
        if progress:
            progress(candidate, U)
        block = posterior.block(slice(candidate, candidate + 1))
        tells = np.flatnonzero(block.G[0].diagonal())  # a row that tells nothing would make K singular
        own, known = candidate * k + tells, L + len(tells)
        K[L:known, :L] = columns[own, :L]
        # Θ(U,x'), as the factor has it
        columns[:, L:known] = block.S[0, tells].T + labelled.Phi.T @ labelled.Phi[:, own]
        K[L:known, L:known] = columns[own, L:known] + lam * np.eye(len(own))
        K[:L, L:known] = K[L:known, :L].T
        R[L:known] = r[candidate].reshape(k, -1)[tells]
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
