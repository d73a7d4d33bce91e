"""A backbone that takes stored images as they are: any size, one or three channels, values from 0 to 1."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.backbones.base import Backbone, Size
from trainer.errors import TrainerError


class OnImages(nn.Module):
    """Scales images to the size that a backbone is to see, normalises them, and returns its features.

    Greys are given three equal channels where the backbone takes colours.  Scaling is bilinear, with antialiasing where
    images become smaller.

    Args:
        net: from normalised images ``[N, C, H, W]`` to features ``[N, d]``.
        size: (height, width) that it sees.
        mean: per channel.
        std: per channel.

    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, size: Size, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.net, self.size = net, size
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Return features ``[N, d]`` of images ``[N, C, H, W]`` with values from 0 to 1."""
        here = x.shape[-2], x.shape[-1]
        if x.shape[1] < len(self.mean):
            x = x.expand(-1, len(self.mean), -1, -1)
        if here != self.size:
            smaller = here[0] > self.size[0] or here[1] > self.size[1]
            x = F.interpolate(x, self.size, mode="bilinear", align_corners=False, antialias=smaller)
        features: Tensor = self.net((x - self.mean) / self.std)
        return features


def on_images(backbone: Backbone, size: Size, channels: int) -> OnImages:
    """Build a backbone for stored images, in eval mode.

    Args:
        backbone: which.
        size: that it sees.
        channels: of the images.

    Raises:
        TrainerError: it takes other channels, or its weights do not fit.

    """
    require_channels(backbone, channels)
    return OnImages(backbone.build(), size, backbone.mean, backbone.std).eval()


def require_channels(backbone: Backbone, channels: int) -> None:
    """Refuse images that a backbone does not take.

    Args:
        backbone: which.
        channels: of the images.

    Raises:
        TrainerError: greys are wanted and the images have colours.

    """
    if channels not in (1, backbone.channels):
        raise TrainerError(
            f"backbone {backbone.name} takes images of {backbone.channels} channel{'s' * (backbone.channels > 1)}, but "
            f"these have {channels}: of a folder, read them as grey (--set data.mode=grey), or take another backbone"
        )
