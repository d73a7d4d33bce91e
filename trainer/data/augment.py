"""Random changes to training batches; scoring and prediction never see them."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def no_augmentation(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return the batch itself; draw nothing.

    Args:
        x: normalised images ``[B, C, H, W]``.
        generator: not used.

    """
    return x


def flip_crop(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability 1/2, then shift it by up to an eighth of its side.

    What a shift uncovers is filled with zeros, which after normalisation is the mean pixel. On 32x32 images this is
    the usual "pad 4 and crop". It has no place on data whose classes a mirror changes (digits).

    Source: Lee et al. 2015, section 3; He et al. 2016, section 4.2.

    Args:
        x: normalised images ``[B, C, H, W]``.
        generator: a CPU generator, the only source of randomness used.

    Returns:
        A new tensor of the same shape; image b of the result comes from image b of ``x``.

    """
    mirror = torch.randint(2, (len(x),), generator=generator).bool()
    return shift(torch.where(mirror.to(x.device)[:, None, None, None], x.flip(-1), x), generator)


def shift(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by up to an eighth of its side; zeros, the mean pixel, fill what that uncovers.

    It is ``flip_crop`` without the mirror, for data whose classes that changes.  Source: Oliver et al. 2018, app. B, on
    SVHN.

    Args:
        x: normalised images ``[B, C, H, W]``.
        generator: a CPU generator, the only source of randomness used.

    Returns:
        A new tensor of the same shape; image b of the result comes from image b of ``x``.

    """
    batch, channels, height, width = x.shape
    pad_h, pad_w = max(1, height // 8), max(1, width // 8)
    top = torch.randint(2 * pad_h + 1, (batch,), generator=generator)
    left = torch.randint(2 * pad_w + 1, (batch,), generator=generator)
    padded = F.pad(x, (pad_w, pad_w, pad_h, pad_h))
    image, channel = torch.arange(batch)[:, None, None, None], torch.arange(channels)[:, None, None]
    rows = (top[:, None] + torch.arange(height))[:, None, :, None]  # [B, 1, H, 1]
    columns = (left[:, None] + torch.arange(width))[:, None, None, :]  # [B, 1, 1, W]
    # Laid out as it came: where narrow convolutions see channels last, torch 2.15 corrupts memory on a CPU with AVX2.
    return padded[tuple(at.to(x.device) for at in (image, channel, rows, columns))]


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "none": no_augmentation,
    "flip-crop": flip_crop,
    "shift": shift,
}
