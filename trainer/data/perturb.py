"""How inputs without labels are changed where a network is to say the same of them: by name, a record each."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.data.augment import shift
from trainer.data.rand_augment import RandAugment, cutout, shifted

Change = Callable[[Tensor, torch.Generator], Tensor]
NOISE, DROPPED = 0.15, 0.2
"""Of ``noise``: its standard deviation, that of normalised inputs being 1 (Oliver et al. 2018, app. B, whose images are
normalised too); and the share of features that are dropped beside it, of inputs that are no images."""


@dataclass(frozen=True)
class Perturbation:
    """A random change to inputs without labels, beyond ``augment``.

    Args:
        name: what users call it.
        description: one line.
        source: whom to cite.
        build: maps the least and the largest value of each channel ``[C]`` to the change of a batch ``[B, C, H, W]``.
        of_images: whether it needs images, and not features.

    """

    name: str
    description: str
    source: str
    build: Callable[[Tensor, Tensor], Change]
    of_images: bool = True


def _unchanged(x: Tensor, generator: torch.Generator) -> Tensor:
    return x


def noisy(x: Tensor, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise; of features ``[B, d, 1, 1]`` a share is also put to zero, their mean.

    Args:
        x: normalised inputs ``[B, C, H, W]``.
        generator: a CPU generator, the only source of randomness used.

    """
    changed = x + (NOISE * torch.randn(x.shape, generator=generator)).to(x)
    if is_image(x.shape[1:]):
        return changed
    return changed * (torch.rand(x.shape, generator=generator) >= DROPPED).to(x)


def is_image(shape: tuple[int, ...] | torch.Size) -> bool:
    """Whether inputs of a shape (C, H, W) are images, and not features (d, 1, 1).

    Args:
        shape: of one input.

    """
    return tuple(shape[1:]) != (1, 1)


def _shift_cutout(low: Tensor, high: Tensor) -> Change:
    return lambda x, generator: cutout(shifted(x, generator), generator)


PERTURBATIONS: dict[str, Perturbation] = {
    one.name: one
    for one in (
        Perturbation("none", "nothing but augment", "-", lambda low, high: _unchanged, of_images=False),
        Perturbation(
            "noise",
            f"Gaussian noise of {NOISE} standard deviations; of features {DROPPED:.0%} are dropped too",
            "Oliver et al. 2018; Srivastava et al. 2014",
            lambda low, high: noisy,
            of_images=False,
        ),
        Perturbation(
            "shift",
            "a shift by up to an eighth of the side, as augment has it",
            "Oliver et al. 2018",
            lambda low, high: shift,
        ),
        Perturbation(
            "shift-cutout",
            "a shift by up to a quarter of the side, and a square of half the side cut out",
            "DeVries & Taylor 2017",
            _shift_cutout,
        ),
        Perturbation(
            "rand-augment",
            "two of fourteen changes, each with probability 1/2 at random strength, and a square of half the side cut "
            "out",
            "Cubuk et al. 2020; Sohn et al. 2020",
            RandAugment,
        ),
    )
}
