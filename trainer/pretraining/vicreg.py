"""VICReg: two views agree, every feature varies, and no two vary together."""

import torch.nn.functional as F
from torch import Tensor

from trainer.pretraining.base import Method, of_pairs, off_diagonal

AGREEMENT, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0
SMALLEST = 1e-4  # added to a variance under a root
PROJECTED = 512


def variance_invariance_covariance(a: Tensor, b: Tensor) -> Tensor:
    """Return what two views' projections differ by, vary too little by, and vary together by.

        l = 25 mean (a - b)^2 + 25 (v(a) + v(b)) / 2 + c(a) + c(b)
        v(z) = mean_j max(0, 1 - sqrt(Var z_j + 1e-4)),   c(z) = sum_{i != j} Cov(z_i, z_j)^2 / D

    Source: Bardes, Ponce & LeCun 2022, eq. 1 to 6; its published code halves v.

    Args:
        a: projections of one view ``[B, D]``.
        b: of the other view, likewise.

    Returns:
        A scalar.

    """
    total = AGREEMENT * F.mse_loss(a, b)
    for z in (a, b):
        spread = (z.var(0) + SMALLEST).sqrt()  # [D]
        centred = z - z.mean(0)
        covariance = centred.T @ centred / (len(z) - 1)  # [D, D]
        total = total + VARIANCE * F.relu(1 - spread).mean() / 2
        total = total + COVARIANCE * off_diagonal(covariance).square().sum() / z.shape[1]
    return total


METHOD = Method(
    "vicreg",
    "two views agree, features vary, and not together",
    "Bardes, Ponce & LeCun 2022",
    of_pairs(PROJECTED, variance_invariance_covariance),
)
