"""Three convolutions and global average pooling: dynamicAL's network for its kernels."""

from torch import nn

from trainer.models.layers import GlobalAverage
from trainer.models.spec import Family, Option, Shape


def build_cnn_gap(input_shape: Shape, num_classes: int, *, width: int) -> nn.Module:
    """Build three 3x3 convolutions with ``width``, ``2 width`` and ``4 width`` channels, then average and classify.

    Every convolution keeps the size of the image; nothing is pooled but by the global average before the linear layer.
    All weights start from torch's own initialisation. With 3 channels and 10 classes it has 94,538 parameters.

    Args:
        input_shape: (C, H, W) of one image.
        num_classes: number of outputs.
        width: channels of the first convolution.

    Returns:
        A module from ``[N, C, H, W]`` to ``[N, num_classes]``.

    """
    channels = input_shape[0]
    layers: list[nn.Module] = []
    for out in (width, 2 * width, 4 * width):
        layers += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU()]
        channels = out
    return nn.Sequential(*layers, GlobalAverage(), nn.Linear(channels, num_classes))


FAMILY = Family(
    name="cnn_gap",
    description="three 3x3 convolutions at full size, global average and a linear layer (dynamicAL's figures 1, 2)",
    source="Wang et al., Deep active learning by leveraging training dynamics, NeurIPS 2022, appendix C",
    builder=build_cnn_gap,
    options={"width": Option(32, "channels of the first convolution; doubled in each of the next two")},
    training={"max_lr": 0.2},
)
