"""The few pieces that more than one family is made of."""

import math

from torch import Tensor, nn


def conv(c_in: int, c_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Make a convolution, to be followed by batch norm: it keeps the size at stride 1, halves it at stride 2.

    Its weights are normal with standard deviation ``sqrt(2 / (kernel^2 c_in))``; it has no bias. Halves are rounded up.

    Source: He et al. 2015, eq. 10.

    Args:
        c_in: channels of the input.
        c_out: channels of the output.
        kernel: odd side length in pixels.
        stride: step in pixels.

    """
    layer = nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=False)
    nn.init.normal_(layer.weight, std=math.sqrt(2 / (kernel * kernel * c_in)))
    return layer


def linear(n_in: int, n_out: int, gain: float = 1.0) -> nn.Linear:
    """Make a fully connected layer with weights of standard deviation ``gain / sqrt(n_in)`` and zero bias.

    Args:
        n_in: features of the input.
        n_out: features of the output.
        gain: 1 for a layer of outputs, sqrt(2) where a ReLU follows.

    """
    layer = nn.Linear(n_in, n_out)
    nn.init.normal_(layer.weight, std=gain / math.sqrt(n_in))
    nn.init.zeros_(layer.bias)
    return layer


def global_average(x: Tensor) -> Tensor:
    """Average over all pixels: ``[N, C, H, W]`` to ``[N, C]``."""
    return x.mean(dim=(2, 3))
