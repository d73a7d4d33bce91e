"""The few pieces that more than one family is made of."""

import math

from torch import Tensor, nn

from trainer.models.spec import Option

DROPOUT = Option(0.0, "share of features dropped in training before the last linear layer", 0.0, 0.9)
"""The same option of every family that has it; 0 puts no module in, so that weights keep their names."""


def conv(c_in: int, c_out: int, kernel: int, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    """Make a convolution, to be followed by a ReLU: it keeps the size at stride 1, halves it at stride 2.

    Its weights are normal with standard deviation ``sqrt(2 / (kernel^2 c_in))``; a bias is zero. Halves are rounded up.

    Source: He et al. 2015, eq. 10.

    Args:
        c_in: channels of the input.
        c_out: channels of the output.
        kernel: odd side length in pixels.
        stride: step in pixels.
        bias: whether it has one; with batch norm after it there is no use for it.

    """
    layer = nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=bias)
    nn.init.normal_(layer.weight, std=math.sqrt(2 / (kernel * kernel * c_in)))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
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


class GlobalAverage(nn.Module):
    """``global_average`` as a layer of a sequence."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to ``[N, C]``."""
        return global_average(x)


def dropped(share: float) -> list[nn.Module]:
    """Return dropout of a share of the features, or nothing where the share is 0.

    Source: Srivastava et al. 2014.

    Args:
        share: probability that a feature is zero in training; the others are divided by one minus it.

    """
    return [nn.Dropout(share)] if share else []


def max_pooled(size: tuple[int, int]) -> tuple[list[nn.Module], tuple[int, int]]:
    """Return 2x2 max pooling and the size that it leaves, or nothing where a side is one pixel.

    Args:
        size: (height, width) in pixels; halves are rounded down.

    """
    if min(size) == 1:
        return [], size
    return [nn.MaxPool2d(2)], (size[0] // 2, size[1] // 2)
