"""What a way of learning features without labels offers (``Method``), and what is trained beside the network."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

HIDDEN = 512
"""Units of a projection's hidden layer."""


class Encoder(nn.Module):
    """A network without its last layer: images ``[N, C, H, W]`` to features, float32 ``[N, d]``.

    Args:
        net: the network; what it returns are the features.
        low_precision: whether products are computed in bfloat16.

    """

    def __init__(self, net: nn.Module, low_precision: bool) -> None:
        super().__init__()
        self.net = net
        self.low_precision = low_precision

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of images."""
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.low_precision):
            features: Tensor = self.net(x)
        return features.flatten(1).float()


class Pretext(nn.Module):
    """What is minimised, with the layers that it trains beside the network and that are given up afterwards."""

    def forward(self, encoder: Encoder, views: Tensor) -> Tensor:
        """Return the loss of a step.

        Args:
            encoder: the network that learns.
            views: of B images, ``[2 B, C, H, W]``: one of each, then another of each in the same order.

        """
        raise NotImplementedError

    def after_step(self, encoder: Encoder, share: float) -> None:
        """Do what follows a step of the optimiser; nothing unless a method says so.

        Args:
            encoder: the network that learns.
            share: of all steps, how many are done, 0 to 1.

        """


@dataclass(frozen=True)
class Method:
    """A way of learning features without labels.

    Args:
        name: what users choose it by.
        description: half a line.
        source: as in the bibliography.
        task: ``task(encoder, d)`` makes what is minimised for features of d numbers; it draws initial weights
            from torch's global generator.

    """

    name: str
    description: str
    source: str
    task: Callable[[Encoder, int], Pretext]


def projection(d: int, out: int) -> nn.Sequential:
    """Return a projection of features: one hidden layer with batch norm.

    Source: Chen et al. 2020, section 4.2; the batch norm as in its section B.9.

    Args:
        d: numbers of a feature vector.
        out: numbers of its projection.

    """
    return nn.Sequential(
        nn.Linear(d, HIDDEN, bias=False), nn.BatchNorm1d(HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, out)
    )


def off_diagonal(C: Tensor) -> Tensor:
    """Return all elements of a square matrix but those of its diagonal, ``[D (D - 1)]``."""
    D = len(C)
    return C.flatten()[:-1].view(D - 1, D + 1)[:, 1:].flatten()


class Projected(Pretext):
    """A projection of features, and a loss of what it makes of two views.

    Args:
        d: numbers of the features.
        out: numbers of a projection.
        loss: of projections ``[2 B, out]``; rows i and i + B are two views of one image.

    """

    def __init__(self, d: int, out: int, loss: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.project = projection(d, out)
        self._loss = loss

    def forward(self, encoder: Encoder, views: Tensor) -> Tensor:
        """Return the loss of a step, see ``Pretext``."""
        return self._loss(self.project(encoder(views)))


def of_projections(out: int, loss: Callable[[Tensor], Tensor]) -> Callable[[Encoder, int], Pretext]:
    """Return a method's task that is a loss of projections, see ``Projected``.

    Args:
        out: numbers of a projection.
        loss: of both views' projections.

    """
    return lambda encoder, d: Projected(d, out, loss)


def of_pairs(out: int, loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Encoder, int], Pretext]:
    """Return a method's task that is a loss of projections, those of one view and those of the other.

    Args:
        out: numbers of a projection.
        loss: of one view's projections and the other's, ``[B, out]`` each.

    """
    return of_projections(out, lambda z: loss(*z.chunk(2)))
