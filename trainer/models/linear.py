"""A linear classifier, for features that were learned elsewhere."""

import math

from torch import Tensor, nn

from trainer.models.layers import dropped
from trainer.models.spec import Family, Option, Shape

TINY = 1e-12
"""A length below which a row is one of zeros."""


class Scale(nn.Module):
    """A fixed factor as a layer of a sequence.

    Args:
        factor: by which inputs are multiplied.

    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by the factor."""
        return x * self.factor

    def extra_repr(self) -> str:
        """Say the factor where the network is printed."""
        return f"{self.factor:.4g}"


class UnitLength(nn.Module):
    """Divides every row by its length: a pretrained network's features tell classes by their direction."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x / ||x||`` of rows ``[N, d]``; a row of zeros stays one."""
        return x / x.square().sum(dim=1, keepdim=True).sqrt().clamp_min(TINY)


def build_linear(input_shape: Shape, num_classes: int, *, dropout: float, unit_length: bool) -> nn.Sequential:
    """Build ``f(x) = W x / sqrt(d) + b`` of d inputs, with W and b zero at the start; or ``f(x) = W x / ||x|| + b``.

    Its tangent kernel ``x·x' / d + 1``, or the cosine + 1, is the same whatever the weights are, so the linearised
    network is the network, and since ``f`` starts at zero nothing random is left of the start where the labels say
    nothing.

    Source: Mohamadi, Bae & Sutherland 2022, eq. 8, which is exact here.

    Args:
        input_shape: (C, H, W) of one image.
        num_classes: number of outputs.
        dropout: share of inputs dropped in training.
        unit_length: whether rows are divided by their lengths.

    Returns:
        A module from ``[N, C, H, W]`` to ``[N, num_classes]``.

    """
    features = math.prod(input_shape)
    outputs = nn.Linear(features, num_classes)
    nn.init.zeros_(outputs.weight)
    nn.init.zeros_(outputs.bias)
    scaled = UnitLength() if unit_length else Scale(1 / math.sqrt(features))
    return nn.Sequential(nn.Flatten(), scaled, *dropped(dropout), outputs)


FAMILY = Family(
    name="linear",
    description="linear classifier, for features learned elsewhere (embeddings)",
    source="Mohamadi, Bae and Sutherland, NeurIPS 2022, eq. 8, exact for it",
    builder=build_linear,
    options={
        "dropout": Option(0.0, "share of inputs dropped in training", 0.0, 0.9),
        "unit_length": Option(False, "whether rows are divided by their lengths, as of a backbone's features"),
    },
    training={"optimizer": "exact", "max_lr": 10.0, "weight_decay": 1e-5},
    rated_for=10,  # half of where SGD diverges on inputs of one direction, of unit variance: 1.9 C at momentum 0.9
)
