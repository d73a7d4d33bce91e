"""Strong changes to images for training without labels: RandAugment and Cutout, on normalised images."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as V

OPERATIONS = 2
"""n, that are drawn for an image.  Source: Sohn et al. 2020, appendix."""
APPLIED = 0.5
"""Chance that one that was drawn is applied.  Source: published code, kekmodel/FixMatch-pytorch."""
LEVELS = 10
"""Strengths among which one is drawn, all as likely.  Source: published code, likewise."""
CUT = 0.5
"""Side of what Cutout takes away, as a share of the image's: 16 of 32 pixels.  Source: published code, likewise."""

Fill = list[float]


class Operation(NamedTuple):
    """A change to one image of bytes.

    Args:
        name: of it.
        apply: maps an image ``[C, H, W]``, uint8, the strength and what fills uncovered pixels of each channel to the
            changed image.
        least: strength of the first level, or near it.
        most: strength of the last level.
        signed: whether the strength's sign is drawn too.

    """

    name: str
    apply: Callable[[Tensor, float, Fill], Tensor]
    least: float = 0.0
    most: float = 0.0
    signed: bool = False


def _each_grey(change: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """Apply what knows grey and RGB images to one of any number of channels: to each of others alone."""
    if image.shape[0] in (1, 3):
        return change(image)
    return change(image.unsqueeze(1)).squeeze(1)


def _affine(image: Tensor, fill: Fill, *, angle: float = 0, x: float = 0, y: float = 0, shear: Fill) -> Tensor:
    moved = [round(x * image.shape[2]), round(y * image.shape[1])]
    nearest = InterpolationMode.NEAREST
    return V.affine(image, angle, moved, 1.0, [torch.tensor(s).atan().rad2deg().item() for s in shear], nearest, fill)


def _alone(change: Callable[..., Tensor]) -> Callable[[Tensor, float, Fill], Tensor]:
    """Return a change of torchvision's that has no strength, for any number of channels."""
    return lambda image, v, fill: _each_grey(change, image)


def _blend(change: Callable[..., Tensor]) -> Operation:
    """Return likewise one that blends the image with a duller one: of strength 1 it is left as it is."""
    name = change.__name__.removeprefix("adjust_")
    return Operation(name, lambda image, v, fill: _each_grey(lambda one: change(one, v), image), 0.05, 0.95)


def _colour(image: Tensor, v: float, fill: Fill) -> Tensor:
    return V.adjust_saturation(image, v) if image.shape[0] == 3 else image


NONE = [0.0, 0.0]
RAND_AUGMENT: tuple[Operation, ...] = (
    Operation("identity", lambda image, v, fill: image),
    Operation("auto-contrast", _alone(V.autocontrast)),
    Operation("equalize", _alone(V.equalize)),
    _blend(V.adjust_brightness),
    Operation("colour", _colour, 0.05, 0.95),
    _blend(V.adjust_contrast),
    _blend(V.adjust_sharpness),
    Operation("posterize", lambda image, v, fill: V.posterize(image, round(v)), 8, 4),
    Operation("solarize", lambda image, v, fill: V.solarize(image, v), 256, 0),
    Operation("rotate", lambda image, v, fill: _affine(image, fill, angle=v, shear=NONE), 0, 30, True),
    Operation("shear-x", lambda image, v, fill: _affine(image, fill, shear=[v, 0.0]), 0, 0.3, True),
    Operation("shear-y", lambda image, v, fill: _affine(image, fill, shear=[0.0, v]), 0, 0.3, True),
    Operation("translate-x", lambda image, v, fill: _affine(image, fill, x=v, shear=NONE), 0, 0.3, True),
    Operation("translate-y", lambda image, v, fill: _affine(image, fill, y=v, shear=NONE), 0, 0.3, True),
)
"""The fourteen, at the strengths of Sohn et al. 2020 (appendix, transformations used in RandAugment); torchvision's."""


class RandAugment:
    """Changes images by ``OPERATIONS`` operations of ``RAND_AUGMENT`` each, and cuts a square out of them.

    For each image operations are drawn with replacement; each is applied with probability ``APPLIED``, at one of
    ``LEVELS`` strengths drawn at random.  They are defined for bytes: the darkest value of each channel that there is
    becomes 0 and the brightest 255, whatever the exposure.  What a change uncovers, and the square of Cutout, get the
    mean pixel, which is zero after normalisation.  Of an image of other than three channels no colours are changed, and
    of other than one or three, contrast and sharpness of each channel alone.

    Source: Cubuk et al. 2020; DeVries & Taylor 2017; as in Sohn et al. 2020, section 2.3 and appendix.

    Args:
        low: the least value of each channel in all images ``[C]``.
        high: the largest, likewise.

    """

    def __init__(self, low: Tensor, high: Tensor) -> None:
        span = (high - low).clamp(min=1e-12)
        self.low, self.step = (one.reshape(-1, 1, 1).cpu() for one in (low, span / 255))
        self.fill: Fill = ((-self.low / self.step).round().clamp(0, 255)).flatten().tolist()

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return changed images.

        Args:
            x: normalised images ``[B, C, H, W]``.
            generator: a CPU generator, the only source of randomness used.

        Returns:
            A new tensor of the same shape.

        """
        images = ((x.cpu() - self.low) / self.step).round().clamp(0, 255).to(torch.uint8)
        shape = (len(x), OPERATIONS)
        which = torch.randint(len(RAND_AUGMENT), shape, generator=generator).tolist()
        levels = torch.randint(1, LEVELS + 1, shape, generator=generator).tolist()
        chances, signs = torch.rand(2, *shape, generator=generator).tolist()
        for b in range(len(x)):
            for n in range(OPERATIONS):
                if chances[b][n] >= APPLIED:
                    continue
                one = RAND_AUGMENT[which[b][n]]
                strength = one.least + (one.most - one.least) * levels[b][n] / LEVELS
                sign = -1 if one.signed and signs[b][n] < 0.5 else 1
                images[b] = one.apply(images[b], sign * strength, self.fill)
        changed = images.to(x.dtype) * self.step + self.low
        return cutout(changed.to(x.device), generator)


def cutout(x: Tensor, generator: torch.Generator) -> Tensor:
    """Put zeros, the mean pixel, into a rectangle of each image with sides ``CUT`` of its own.

    Its centre is anywhere in the image, so that part of it may lie outside.  Source: DeVries & Taylor 2017, section 3.

    Args:
        x: normalised images ``[B, C, H, W]``.
        generator: a CPU generator, the only source of randomness used.

    Returns:
        A new tensor of the same shape.

    """
    height, width = x.shape[2:]
    hidden = []
    for drawn, side in zip(torch.rand(2, len(x), generator=generator), (height, width), strict=True):
        half = CUT * side / 2
        centre, pixels = (drawn * side)[:, None], torch.arange(side) + 0.5
        hidden.append((pixels - centre).abs() < half)  # [B, side]
    covered = hidden[0][:, None, :, None] & hidden[1][:, None, None, :]  # [B, 1, H, W]
    return x.masked_fill(covered.to(x.device), 0.0)


def shifted(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by whole pixels, up to a quarter of its side each way; zeros fill what that uncovers.

    Args:
        x: normalised images ``[B, C, H, W]``.
        generator: a CPU generator, the only source of randomness used.

    """
    height, width = x.shape[2:]
    pad_h, pad_w = max(1, height // 4), max(1, width // 4)
    padded = F.pad(x, (pad_w, pad_w, pad_h, pad_h))
    tops = torch.randint(2 * pad_h + 1, (len(x),), generator=generator).tolist()
    lefts = torch.randint(2 * pad_w + 1, (len(x),), generator=generator).tolist()
    images = zip(padded, tops, lefts, strict=True)
    return torch.stack([one[:, top : top + height, left : left + width] for one, top, left in images])
