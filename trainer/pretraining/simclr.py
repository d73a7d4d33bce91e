"""SimCLR: tell the other view of an image from all other views of the batch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.pretraining.base import Encoder, Method, Pretext, projection

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


class SimCLR(Pretext):
    """A projection, and the loss ``nt_xent`` of what it makes of two views.

    Args:
        encoder: the network that learns.
        d: numbers of its features.

    """

    def __init__(self, encoder: Encoder, d: int) -> None:
        super().__init__()
        self.project = projection(d, PROJECTED)

    def forward(self, encoder: Encoder, views: Tensor) -> Tensor:
        """Return the loss of a step, see ``Pretext``."""
        return nt_xent(self.project(encoder(views)))


METHOD = Method("simclr", "tells an image's other view from all other images'", "Chen et al. 2020", SimCLR)
