"""Barlow Twins: every feature says the same of two views, and no two features say the same."""

from torch import Tensor

from trainer.pretraining.base import Method, of_pairs, off_diagonal

LAMBDA = 0.0051
PROJECTED = 512


def redundancy(a: Tensor, b: Tensor, lam: float = LAMBDA) -> Tensor:
    """Return how far the cross-correlation of two views' projections is from the identity.

        l = sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2,   C_ij = correlation over the batch of a_i with b_j

    Source: Zbontar et al. 2021, eq. 1 and 2; lambda of its section 2.2.

    Args:
        a: projections of one view ``[B, D]``.
        b: of the other view, likewise.
        lam: lambda.

    Returns:
        A scalar.

    """
    a, b = ((z - z.mean(0)) / (z.std(0, correction=0) + 1e-6) for z in (a, b))
    C = a.T @ b / len(a)  # [D, D]
    return (1 - C.diagonal()).square().sum() + lam * off_diagonal(C).square().sum()


METHOD = Method(
    "barlow-twins",
    "features that two views share and that repeat no other",
    "Zbontar et al. 2021",
    of_pairs(PROJECTED, redundancy),
)
