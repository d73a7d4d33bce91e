"""The few pieces that more than one family is made of."""

import math

from torch import Tensor, nn


def conv(c_in: int, c_out: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """A convolution that keeps the size at stride 1 and halves it, rounding up, at stride 2.

    Initialised by He et al., "Delving deep into rectifiers" (2015), eq. 10: normal with standard deviation
    `sqrt(2 / (kernel^2 c_in))`, bias zero.

    Args:
        c_in, c_out: channels.
        kernel: odd side length in pixels.
        stride: step in pixels.
        bias: False where a batch norm follows.
    """
    layer = nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=bias)
    nn.init.normal_(layer.weight, std=math.sqrt(2 / (kernel * kernel * c_in)))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def linear(n_in: int, n_out: int, gain: float = 1.0) -> nn.Linear:
    """A fully connected layer with weights of standard deviation `gain / sqrt(n_in)` and zero bias.

    Args:
        n_in, n_out: features.
        gain: 1 for a layer of outputs, sqrt(2) where a ReLU follows.
    """
    layer = nn.Linear(n_in, n_out)
    nn.init.normal_(layer.weight, std=gain / math.sqrt(n_in))
    nn.init.zeros_(layer.bias)
    return layer


def global_average(x: Tensor) -> Tensor:
    """Mean over all pixels: `[N, C, H, W]` to `[N, C]`."""
    return x.mean(dim=(2, 3))
