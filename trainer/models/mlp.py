"""Fully connected networks."""

import math

from torch import nn

from trainer.models.layers import dropped, linear
from trainer.models.spec import DEEPEST, Family, Option, Shape

MANY = 10  # classes; for more, outputs start smaller


def build_mlp(input_shape: Shape, num_classes: int, *, depth: int, width: int, dropout: float) -> nn.Module:
    """Build a fully connected ReLU network.

    Standard parameterisation: weights are normal with variance 2/fan_in, 1/fan_in in the last layer; biases are zero.
    With a depth of 3 it is the fully connected network (FCN) of the pNTK study.

    For more than ten classes C the last layer starts at 10/C of its size: the loss is a mean over classes, so in as
    many steps training moves each output by so much less, and the random function that it has to undo must be as much
    smaller. With it one image of each of 100 classes is fitted (0.99 of test images right in place of 0.1).

    Args:
        input_shape: (C, H, W) of one image.
        num_classes: number of outputs.
        depth: number of hidden layers.
        width: units in each of them.
        dropout: share of units dropped in training, in each of them.

    Returns:
        A module from ``[N, C, H, W]`` to ``[N, num_classes]``.

    """
    layers: list[nn.Module] = [nn.Flatten()]
    features = math.prod(input_shape)
    for _ in range(depth):
        layers += [linear(features, width, gain=math.sqrt(2)), nn.ReLU(), *dropped(dropout)]
        features = width
    layers.append(linear(features, num_classes, gain=min(1.0, MANY / num_classes)))
    return nn.Sequential(*layers)


FAMILY = Family(
    name="mlp",
    description="fully connected ReLU network",
    source="Rumelhart, Hinton and Williams, Nature 323 (1986); initialised as He et al., arXiv:1502.01852",
    builder=build_mlp,
    options={
        "depth": Option(2, "hidden layers", maximum=DEEPEST),
        "width": Option(128, "units in a hidden layer"),
        "dropout": Option(0.0, "share of units dropped in training in each hidden layer", 0.0, 0.9),
    },
    training={"max_lr": 0.8},
)
