"""Random views of images: cropped, mirrored and recoloured, for a whole batch at once."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

RATIO = 4 / 3
"""The most that a crop is stretched by."""
BRIGHTNESS, HUE, JITTERED, GREY = 0.4, 0.1, 0.8, 0.2
"""At strength 1: half-ranges of brightness, contrast and saturation, and of hue in turns; shares of the images that are
recoloured, and made grey (Chen et al. 2020, section B.9 with half of section A's strength)."""
YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""Luma, and two axes of chroma, of the three colours."""


@dataclass(frozen=True)
class ViewOptions:
    """What views of one image may differ by.

    Args:
        smallest_crop: the least share of the image's area that is seen, over 0; 1 sees all.
        flip: whether half of them are mirrored left to right.
        colour: strength of brightness, contrast and, of three channels, saturation, hue and grey; 0 changes none.

    """

    smallest_crop: float
    flip: bool
    colour: float


class Viewer:
    """Makes network inputs of stored images, another random view at each call.

    Args:
        options: what views may differ by.
        scale: what a byte is divided by.
        mean: per channel, subtracted at the end.
        std: per channel, divided by at the end.

    """

    def __init__(self, options: ViewOptions, scale: float, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.options, self.scale = options, scale
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return a view of each image.

        Args:
            images: bytes ``[B, C, H, W]`` on the CPU.
            generator: the only source of randomness used.

        Returns:
            Normalised inputs, float32 ``[B, C, H, W]``.

        """
        x = images.float().div_(self.scale)
        x = cropped(x, self.options.smallest_crop, self.options.flip, generator)
        if self.options.colour:
            x = recoloured(x, self.options.colour, generator)
        return x.sub_(self.mean).div_(self.std)


def cropped(x: Tensor, smallest: float, flip: bool, generator: torch.Generator) -> Tensor:
    """See a random part of every image, scaled to the image's size, or its mirror image.

    A part has between ``smallest`` and all of the area, and sides whose ratio is that of the image times 3/4 to 4/3,
    but is never longer than the image.

    Source: Chen et al. 2020, section 3.1 and appendix A.

    Args:
        x: ``[B, C, H, W]``.
        smallest: share of the area, over 0.
        flip: whether half of them are mirrored left to right.
        generator: the only source of randomness used.

    Returns:
        A new tensor of the same shape, with values between those of ``x``.

    """
    n = len(x)
    area, ratio, left, top, mirrored = torch.rand(5, n, generator=generator)
    area = smallest + (1 - smallest) * area
    ratio = torch.exp((2 * ratio - 1) * math.log(RATIO))
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = torch.where(mirrored < 0.5, -width, width) if flip else width
    theta[:, 1, 1] = height
    theta[:, 0, 2] = (2 * left - 1) * (1 - width)
    theta[:, 1, 2] = (2 * top - 1) * (1 - height)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False, padding_mode="border")


def recoloured(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Change the colours of most images at random.

    Brightness b, contrast c about the mean, saturation s and a turn of the hue are one linear map of the colours,

        x' = b c M x + (1 - c) b mean(x),   M = YIQ^-1 diag(1, s R) YIQ

    R being the turn; of other than three channels M is 1. What leaves 0 to 1 is cut off.

    Source: Chen et al. 2020, appendix A, whose changes are applied one by one.

    Args:
        x: values from 0 to 1, ``[B, C, H, W]``.
        strength: 1 for the usual one.
        generator: the only source of randomness used.

    Returns:
        A new tensor of the same shape, with values from 0 to 1.

    """
    n, channels = x.shape[:2]
    drawn, (chance, grey) = torch.rand(4, n, generator=generator) * 2 - 1, torch.rand(2, n, generator=generator)
    drawn = strength * torch.where(chance < JITTERED, drawn, 0.0)
    brightness, contrast, saturation = (1 + BRIGHTNESS * drawn[:3]).clamp(min=0)
    mean = x.mean((1, 2, 3))
    offset = (1 - contrast) * brightness * mean
    gain = (brightness * contrast).view(n, 1, 1)
    if channels != 3:
        return torch.addcmul(offset.view(n, 1, 1, 1), gain[..., None], x).clamp_(0, 1)
    saturation = torch.where(grey < GREY * strength, 0.0, saturation)
    angle = HUE * drawn[3] * 2 * math.pi
    turn = torch.zeros(n, 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = saturation * angle.cos()
    turn[:, 2, 1] = saturation * angle.sin()
    turn[:, 1, 2] = -turn[:, 2, 1]
    M = gain * (torch.linalg.inv(YIQ) @ turn @ YIQ)  # [B, 3, 3]
    return torch.baddbmm(offset.view(n, 1, 1), M, x.flatten(2)).view_as(x).clamp_(0, 1)
