"""SimCLR: tell the other view of an image from all other views of the batch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.pretraining.base import Method, of_projections

TEMPERATURE = 0.5
"""For 32x32 images (Chen et al. 2020, section B.9)."""
PROJECTED = 128


def nt_xent(z: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return the normalised temperature-scaled cross-entropy of finding each view's other one.

        l = mean_i -log( exp(s_ij / t) / sum_{k != i} exp(s_ik / t) ),   j the other view of i, s the cosine

    Source: Chen et al. 2020, eq. 1.

    Args:
        z: projections ``[2 B, D]``; rows i and i + B are two views of one image.
        temperature: t.

    Returns:
        A scalar.

    """
    z = F.normalize(z)
    s = (z @ z.T / temperature).fill_diagonal_(-torch.inf)  # [2B, 2B]
    other = torch.arange(len(z), device=z.device).roll(len(z) // 2)
    return F.cross_entropy(s, other)


METHOD = Method(
    "simclr",
    "tells an image's other view from all other images'",
    "Chen et al. 2020",
    of_projections(PROJECTED, nt_xent),
)
