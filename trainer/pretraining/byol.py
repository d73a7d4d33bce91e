"""BYOL: foresee what a slowly following copy of the network says of the other view."""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.pretraining.base import Encoder, Method, Pretext, projection

PROJECTED = 128
FOLLOWING = 0.97
"""Share of itself that the copy keeps in the first step; 0.996 in the paper, whose trainings are 100 times as long."""


def foresight(p: Tensor, z: Tensor) -> Tensor:
    """Return the squared distance of predictions from targets, both of length 1.

        l = mean_i |p_i / |p_i| - z_i / |z_i||^2 = mean_i (2 - 2 cos(p_i, z_i))

    Source: Grill et al. 2020, eq. 2.

    Args:
        p: predictions ``[N, D]``.
        z: targets ``[N, D]``, through which no gradient passes.

    Returns:
        A scalar.

    """
    return (2 - 2 * F.cosine_similarity(p, z.detach())).mean()


def kept_share(share: float) -> float:
    """Return how much of itself the copy keeps in a step, ``1 - (1 - tau) (cos(pi s) + 1) / 2``.

    Source: Grill et al. 2020, section 3.3.

    Args:
        share: s, of all steps, how many are done.

    """
    return 1 - (1 - FOLLOWING) * (math.cos(math.pi * share) + 1) / 2


class BYOL(Pretext):
    """A projection, a prediction, and a copy of network and projection that follows them.

    Args:
        encoder: the network that learns.
        d: numbers of its features.

    """

    def __init__(self, encoder: Encoder, d: int) -> None:
        super().__init__()
        self.project = projection(d, PROJECTED)
        self.predict = projection(PROJECTED, PROJECTED)
        self.target = nn.ModuleList([copy.deepcopy(encoder), copy.deepcopy(self.project)]).requires_grad_(False)

    def forward(self, encoder: Encoder, views: Tensor) -> Tensor:
        """Return the loss of a step, see ``Pretext``."""
        p = self.predict(self.project(encoder(views)))
        with torch.no_grad():
            follower, project = self.target
            z = project(follower(views)).roll(len(views) // 2, 0)  # of the other view
        return foresight(p, z)

    @torch.no_grad()
    def after_step(self, encoder: Encoder, share: float) -> None:
        """Let the copy follow by a moving average; see ``Pretext``."""
        tau = kept_share(share)
        for followed, follower in zip((encoder, self.project), self.target, strict=True):
            for own, its in zip(followed.parameters(), follower.parameters(), strict=True):
                its.lerp_(own, 1 - tau)


METHOD = Method("byol", "foresees what a slower copy of the network says of the other view", "Grill et al. 2020", BYOL)
