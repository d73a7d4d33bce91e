"""A plain fully convolutional network: nothing but convolutions until the global average."""

from torch import nn

from trainer.models.layers import GlobalAverage, conv, linear
from trainer.models.spec import DEEPEST, Family, Option, Shape


def build_convnet(input_shape: Shape, num_classes: int, *, depth: int, width: int) -> nn.Module:
    """Build ``depth`` 3x3 convolutions of equal width at full size, each with a ReLU, then average and classify.

    Standard parameterisation: weights are normal with variance 2/fan_in, 1/fan_in in the last layer; biases are zero.

    Args:
        input_shape: (C, H, W) of one image.
        num_classes: number of outputs.
        depth: number of convolutions.
        width: channels of each.

    Returns:
        A module from ``[N, C, H, W]`` to ``[N, num_classes]``.

    """
    channels = input_shape[0]
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [conv(channels, width, 3, bias=True), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, GlobalAverage(), linear(channels, num_classes))


FAMILY = Family(
    name="convnet",
    description="eight 3x3 convolutions at full size, global average and a linear layer (pNTK study)",
    source="Lee et al., Finite versus infinite neural networks, arXiv:2007.15801 (CNN-GAP)",
    builder=build_convnet,
    options={
        "depth": Option(8, "convolutions", maximum=DEEPEST),
        "width": Option(64, "channels of each"),
    },
    training={"max_lr": 0.05},
)
