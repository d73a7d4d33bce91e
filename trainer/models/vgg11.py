"""VGG-11 for small images, with or without batch norm."""

import math

from torch import nn

from trainer.models.layers import DROPOUT, conv, dropped, linear, max_pooled
from trainer.models.spec import Family, Option, Shape

GROUPS = ((1,), (2,), (4, 4), (8, 8), (8, 8))
"""Channels of each convolution as multiples of the first one's; max pooling follows each group."""
SIDE = 7  # of what torchvision's classifier sees


def build_vgg11(
    input_shape: Shape, num_classes: int, *, width: int, batch_norm: bool, hidden: int, dropout: float
) -> nn.Module:
    """Build eight 3x3 convolutions in five groups, each followed by 2x2 max pooling, and a classifier.

    The classifier is one linear layer on all that is left, as in dynamicAL's code (512 features at 32x32), or that of
    torchvision: averages over a 7x7 grid and two hidden linear layers. A pooling is left out where a side is one pixel.
    Weights are normal with variance 2/fan_in, biases zero. With batch norm, 3x32x32 and 10 classes it has 9,231,114
    parameters.

    Args:
        input_shape: (C, H, W) of one image.
        num_classes: number of outputs.
        width: channels of the first convolution.
        batch_norm: put a batch norm after every convolution.
        hidden: units of each hidden layer of torchvision's classifier; 0 for one linear layer.
        dropout: share of features dropped before the last linear layer and, as in torchvision, between hidden ones.

    Returns:
        A module from ``[N, C, H, W]`` to ``[N, num_classes]``.

    """
    channels, height, breadth = input_shape
    size, layers = (height, breadth), list[nn.Module]()
    for group in GROUPS:
        for multiple in group:
            layers.append(conv(channels, multiple * width, 3, bias=True))
            channels = multiple * width
            layers += [nn.BatchNorm2d(channels)] * batch_norm + [nn.ReLU()]
        pool, size = max_pooled(size)
        layers += pool
    if hidden:
        layers.append(nn.AdaptiveAvgPool2d(SIDE))
        size = (SIDE, SIDE)
    layers.append(nn.Flatten())
    features = channels * math.prod(size)
    for _ in range(2 * bool(hidden)):
        layers += [linear(features, hidden, gain=math.sqrt(2)), nn.ReLU(), *dropped(dropout)]
        features = hidden
    last = linear(features, num_classes)
    return nn.Sequential(*layers, *([] if hidden else dropped(dropout)), last)


FAMILY = Family(
    name="vgg11",
    description="VGG-11 for small images, with batch norm and one linear layer by default (dynamicAL's VGG)",
    source="Simonyan and Zisserman, Very deep convolutional networks, arXiv:1409.1556, configuration A",
    builder=build_vgg11,
    options={
        "width": Option(64, "channels of the first convolution"),
        "batch_norm": Option(True, "batch norm after every convolution"),
        "hidden": Option(0, "units of torchvision's two hidden linear layers, 4096 there; 0 for none", minimum=0),
        "dropout": DROPOUT,
    },
    training={"max_lr": 0.1, "epochs": 200},
)
