"""The small convolutional network of PyTorch's tutorial, which dynamicAL calls CNN."""

import math

from torch import nn

from trainer.models.layers import max_pooled
from trainer.models.spec import Family, Option, Shape

SMALL = 16  # pixels; the convolutions of smaller images keep their size, as nothing would be left


def build_tutorial_cnn(input_shape: Shape, num_classes: int, *, width: int) -> nn.Module:
    """Build two 5x5 convolutions with max pooling, and linear layers of 120, 84 and num_classes units.

    The convolutions have ``width`` and ``16 width / 6`` channels, 6 and 16 in the tutorial, and no padding; with it
    where a side is under 16 pixels. A pooling is left out where a side is one pixel. All weights start from torch's own
    initialisation. At 3x32x32 and 10 classes it has 62,006 parameters.

    Args:
        input_shape: (C, H, W) of one image.
        num_classes: number of outputs.
        width: channels of the first convolution.

    Returns:
        A module from ``[N, C, H, W]`` to ``[N, num_classes]``.

    """
    channels, height, breadth = input_shape
    size = (height, breadth)
    padding = 2 if min(size) < SMALL else 0
    layers: list[nn.Module] = []
    for out in (width, 16 * width // 6):
        layers += [nn.Conv2d(channels, out, 5, padding=padding), nn.ReLU()]
        pool, size = max_pooled((size[0] - 4 + 2 * padding, size[1] - 4 + 2 * padding))
        layers += pool
        channels = out
    layers.append(nn.Flatten())
    features = channels * math.prod(size)
    for units in (120, 84):
        layers += [nn.Linear(features, units), nn.ReLU()]
        features = units
    layers.append(nn.Linear(features, num_classes))
    return nn.Sequential(*layers)


FAMILY = Family(
    name="tutorial_cnn",
    description="two 5x5 convolutions with max pooling and three linear layers (dynamicAL's CNN)",
    source="PyTorch tutorials, Training a classifier; after LeCun et al., Proc. IEEE 86 (1998)",
    builder=build_tutorial_cnn,
    options={"width": Option(6, "channels of the first convolution; the second has 8/3 of them")},
    training={"max_lr": 0.8},
)
