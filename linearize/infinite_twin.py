"""Architectures whose infinite-width limit is computed, in the few layers that the project's networks are made of.

All layers are in the NTK parameterisation: weights N(0, 1) times gain/√fan_in, gain √2 where a ReLU follows and 1 in
the last layer, biases N(0, 1) times ``BIAS_STD``; so the limit exists and keeps the size of the signal through depth.
It knows neither training nor width.  Batch norm has no counterpart in it, its statistics being numbers that training
found: it is left out.  Convolutions are padded as torch pads them, ``padding=kernel // 2``.
"""

import math
from typing import Any, NamedTuple

from linearize.errors import LinearizeError

GAIN, BIAS_STD = math.sqrt(2), 0.05


class Conv(NamedTuple):
    """A convolution that keeps the image's size at stride 1 and halves it, rounding up, at stride 2."""

    kernel: int = 3
    stride: int = 1


class Relu(NamedTuple):
    """Every ReLU, with its slope below zero."""

    slope: float = 0.0
    name: str = "relu"  # so that it does not equal another layer without fields


class Flatten(NamedTuple):
    """All pixels of all channels as features: needs each pixel's covariance with itself alone."""

    name: str = "flatten"


class GlobalAverage(NamedTuple):
    """Mean over pixels: needs the covariances of all pairs of pixels, from the first layer on."""

    name: str = "global average"


class Dense(NamedTuple):
    """A fully connected layer."""

    gain: float = GAIN


class Residual(NamedTuple):
    """branch(x) + shortcut(x); an empty shortcut is x itself.

    Such an x must not come straight from a ReLU: the sum would not be Gaussian, and its limit no kernel that is known.
    """

    branch: tuple[Any, ...]
    shortcut: tuple[Any, ...] = ()


Layer = Conv | Relu | Flatten | GlobalAverage | Dense | Residual


class Twin(NamedTuple):
    """An architecture of infinite width with one output.

    Args:
        layers: from the image to the output.
        unlike: how it differs from the network that it stands for, in a few words; else empty.

    """

    layers: tuple[Layer, ...]
    unlike: str = ""

    @property
    def all_pairs(self) -> bool:
        """Whether the covariances of all pairs of pixels are needed."""
        return GlobalAverage() in self.layers


def to_stax(twin: Twin, shape: tuple[int, int, int], stax: Any) -> Any:
    """Build the ``stax`` network of a twin, for images whose rows and columns are both **reversed**.

    ``stax`` pads an even image's stride-2 convolution at its end, torch at its beginning; reversed, they agree.

    Args:
        twin: the architecture.
        shape: (C, H, W) of one image.
        stax: the module ``neural_tangents.stax``.

    Returns:
        ``(init_fn, apply_fn, kernel_fn)`` for inputs ``[N, H, W, C]``.

    Raises:
        LinearizeError: a layer that is none.

    """
    layers, _ = _serial(twin.layers, shape[1:], stax)
    return stax.serial(*layers)


def _serial(layers: tuple[Layer, ...], size: tuple[int, int], stax: Any) -> tuple[list[Any], tuple[int, int]]:
    made = []
    for layer in layers:
        one, size = _layer(layer, size, stax)
        made += one
    return made or [stax.Identity()], size


def _layer(layer: Layer, size: tuple[int, int], stax: Any) -> tuple[list[Any], tuple[int, int]]:
    match layer:
        case Conv(kernel, stride):
            return _conv(kernel, stride, size, stax)
        case Residual(branch, shortcut):
            one, after = _serial(branch, size, stax)
            other, same = _serial(shortcut, size, stax)
            if same != after:
                raise LinearizeError(f"twin: expected branch and shortcut of one size, got {after} and {same}")
            both = stax.parallel(stax.serial(*one), stax.serial(*other))
            return [stax.FanOut(2), both, stax.FanInSum()], after
        case Dense(gain):
            return [stax.Dense(1, gain, BIAS_STD)], size
        case Relu(slope):
            return [stax.LeakyRelu(slope) if slope else stax.Relu()], size
        case Flatten():
            return [stax.Flatten()], size
        case GlobalAverage():
            return [stax.GlobalAvgPool()], size
    raise LinearizeError(f"twin: expected a layer, got {layer!r}")


def _conv(kernel: int, stride: int, size: tuple[int, int], stax: Any) -> tuple[list[Any], tuple[int, int]]:
    after = (-(-size[0] // stride), -(-size[1] // stride))
    if kernel == 1 and stride > 1:  # torch takes pixels 0, stride, ...: of a reversed image those that end at its last
        first = [(n - 1) % stride for n in size]
        pixels = stax.Slice[:, first[0] :: stride, first[1] :: stride]
        return [stax.Index(pixels), stax.Conv(1, (1, 1), W_std=GAIN, b_std=BIAS_STD)], after
    conv = stax.Conv(1, (kernel, kernel), (stride, stride), "SAME", W_std=GAIN, b_std=BIAS_STD)
    return [conv], after
