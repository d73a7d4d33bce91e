"""Convolutions."""

import jax.numpy as jnp
import numpy as np
from jax import lax

from layers.base import D, Layer, T, layer, weights

SPACES = {1: (12,), 2: (3, 4), 3: (2, 3, 2)}


def random_conv(rng, rank, *, groups=(1, 2, 4), strides=(1, 2, 3), lhs_dilations=(1, 2), frames=1):
    """A convolution of any stride, padding (negative ones too), dilations, groups and order of the axes."""
    space = SPACES[rank]
    if frames > 1:
        space = (T // frames, *[1] * (rank - 1))
    channels = D
    for _ in range(1000):
        kernel = rng.integers(1, 4, rank)
        stride = rng.choice(strides, rank)
        padding = rng.integers(-1, 3, (rank, 2))
        rhs_dilation = rng.integers(1, 3, rank)
        lhs_dilation = rng.choice(lhs_dilations, rank)
        length = (np.array(space) - 1) * lhs_dilation + 1 + padding.sum(1)
        places = (length - (kernel - 1) * rhs_dilation - 1) // stride + 1
        if (length >= 1).all() and (places >= 1).all():
            break
    count = int(rng.choice(groups))
    out = count * int(rng.integers(1, 3))
    letters = "HWD"[:rank]
    numbers = tuple("".join(rng.permutation([*both, *letters])) for both in ("NC", "IO", "NC"))

    order = [letters.index(letter) for letter in numbers[1] if letter in letters]  # lax counts the kernel's axes

    def ordered(array, now, wanted):
        return array.transpose([now.index(letter) for letter in wanted])

    w = ordered(weights(rng, *kernel, channels // count, out), letters + "IO", numbers[1])

    def apply(p, s, h):
        data = h.reshape(len(h) * frames, *space, channels)
        y = lax.conv_general_dilated(
            ordered(data, "N" + letters + "C", numbers[0]),
            p["w"],
            tuple(stride[order].tolist()),
            tuple((int(low), int(high)) for low, high in padding[order]),
            lhs_dilation=tuple(lhs_dilation[order].tolist()),
            rhs_dilation=tuple(rhs_dilation[order].tolist()),
            dimension_numbers=numbers,
            feature_group_count=count,
        )
        return ordered(y, numbers[2], "N" + letters + "C").reshape(len(h), -1)

    return Layer({"w": w}, apply)


@layer
def conv1d(rng):
    return random_conv(rng, 1)


@layer
def conv2d(rng):
    return random_conv(rng, 2)


@layer
def conv3d(rng):
    return random_conv(rng, 3)


@layer
def conv2d_plain(rng):
    return random_conv(rng, 2, groups=(1,), strides=(1, 2), lhs_dilations=(1,))


@layer
def conv1d_plain(rng):
    return random_conv(rng, 1, groups=(1,), lhs_dilations=(1,))


@layer
def conv3d_plain(rng):
    return random_conv(rng, 3, groups=(1,), strides=(1,), lhs_dilations=(1,))


@layer
def conv_grouped(rng):
    return random_conv(rng, 2, groups=(2, 4), lhs_dilations=(1,))


@layer
def conv_of_dilated_data(rng):
    return random_conv(rng, 2, groups=(1,), lhs_dilations=(2,))


@layer
def conv_of_frames(rng):
    return random_conv(rng, 2, groups=(1,), lhs_dilations=(1,), frames=3)


@layer
def conv_transpose(rng):
    def apply(p, s, h):
        y = lax.conv_transpose(
            h.reshape(-1, 3, 4, D), p["w"], (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return y + p["b"][None, None, None]

    return Layer({"w": weights(rng, 3, 3, D, 3), "b": weights(rng, 3)}, apply)


@layer
def conv_with_the_weight_as_image(rng):
    def apply(p, s, h):
        def one(kernel):  # [T, D] -> out of a weight's image
            return lax.conv_general_dilated(
                p["w"], kernel.reshape(3, 4, D, 1)[:2, :2], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )

        return jnp.stack([one(h[0])])

    return Layer({"w": weights(rng, 2, 4, 3, D)}, apply)


@layer
def conv_with_batch_groups(rng):
    def apply(p, s, h):
        return lax.conv_general_dilated(
            h.reshape(2, 6, D), p["w"], (1,), "SAME", dimension_numbers=("NHC", "HIO", "NHC"), batch_group_count=2
        ).reshape(len(h), -1)

    return Layer({"w": weights(rng, 3, D, 2)}, apply)


@layer
def conv_and_dense_share_a_kernel(rng):
    def apply(p, s, h):
        y = lax.conv_general_dilated(h, p["w"], (1,), "SAME", dimension_numbers=("NHC", "HIO", "NHC"))
        return y + h @ p["w"][1]

    return Layer({"w": weights(rng, 3, D, D)}, apply)
