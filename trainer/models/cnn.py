"""A small plain convolutional network: fast on two CPU cores, no batch norm unless asked for."""

from torch import nn

from trainer.models.layers import conv, linear
from trainer.models.spec import Family, Option, Shape


def build_cnn(input_shape: Shape, num_classes: int, *, width: int, batch_norm: bool) -> nn.Module:
    """Three 3x3 convolutions with `width`, `2 width` and `2 width` channels, then one linear layer.

    A convolution has stride 2 while the shorter side is at least 6 pixels, so 8x8 becomes 4x4 and then 2x2 while
    28x28 becomes 4x4; the pixels that remain are flattened into the linear layer.

    Args:
        input_shape: (C, H, W) of one image.
        num_classes: number of outputs.
        width: channels of the first convolution.
        batch_norm: put a batch norm after every convolution.

    Returns:
        A module from `[N, C, H, W]` to `[N, num_classes]`.
    """
    channels, height, breadth = input_shape
    layers: list[nn.Module] = []
    for out in (width, 2 * width, 2 * width):
        stride = 2 if min(height, breadth) >= 6 else 1
        layers.append(conv(channels, out, 3, stride, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm2d(out))
        layers.append(nn.ReLU())
        channels, height, breadth = out, -(-height // stride), -(-breadth // stride)
    layers += [nn.Flatten(), linear(channels * height * breadth, num_classes)]
    return nn.Sequential(*layers)


FAMILY = Family(
    name="cnn",
    description="three 3x3 convolutions and a linear layer, no batch norm by default",
    source="LeCun et al., Proc. IEEE 86 (1998), with strides for pooling as Springenberg et al., arXiv:1412.6806",
    builder=build_cnn,
    options={
        "width": Option(32, "channels of the first convolution"),
        "batch_norm": Option(False, "batch norm after every convolution"),
    },
)
