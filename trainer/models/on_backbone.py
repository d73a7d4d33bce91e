"""``on-backbone:NAME``: a pretrained network and a head on it as one network, from images to outputs."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from common.naming import did_you_mean
from trainer.errors import TrainerError
from trainer.models.custom import CustomFamily
from trainer.models.spec import Family, Shape

PREFIX = "on-backbone:"
TRAINING: Mapping[str, float | str] = {"max_lr": 1.0, "batch_norm": "running"}
"""A rate at which few labels are learned without a restart (benchmarks/RESULTS.md), and statistics that stay."""
DEFAULTS: Mapping[str, Any] = {"size": None, "head": "linear", "head_options": {}, "train": "all"}
"""Options: pixels that the backbone sees, the head's family and options, and what is trained."""
TRAINED = ("all", "head")


class OnBackbone(nn.Module):
    """A head on a backbone's features: ``f(x) = head((h(x) - center) / deviation)`` of images x from 0 to 1.

    Args:
        eye: from images to features ``[N, d]``.
        head: from ``[N, d, 1, 1]`` to outputs.
        features: d.

    In training, too, the backbone runs as it does in eval mode: its batch norm keeps the statistics that it was
    pretrained with, which few labels cannot replace, and nothing in it is random.

    """

    center: Tensor
    deviation: Tensor

    def __init__(self, eye: nn.Module, head: nn.Module, features: int) -> None:
        super().__init__()
        self.eye, self.head = eye, head
        self.register_buffer("center", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))

    def train(self, mode: bool = True) -> Self:
        """Let the head alone train as a module; parameters of the backbone are trained where they require gradients."""
        super().train(mode)
        self.eye.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs ``[N, C]`` of images ``[N, C, H, W]``."""
        h = (self.eye(x) - self.center) / self.deviation
        out: Tensor = self.head(h[:, :, None, None])
        return out


class BackboneFamily(CustomFamily):
    """A family of one backbone."""

    def resolve(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options: those given, checked, and the defaults of the others.

        Args:
            options: name -> value.

        Raises:
            TrainerError: an option that there is not, or a value that it does not take.

        """
        from trainer.models import MODELS

        for name in options:
            if name not in DEFAULTS:
                raise TrainerError(
                    f"{self.name} has no option {name!r}; its options are {', '.join(DEFAULTS)}"
                    f"{did_you_mean(name, DEFAULTS)}"
                )
        full = super().resolve({**DEFAULTS, **options})
        if full["head"] not in MODELS or not isinstance(full["head_options"], dict):
            raise TrainerError(f"{self.name} option head: expected one of {', '.join(MODELS)}, got {full['head']!r}")
        if full["train"] not in TRAINED:
            raise TrainerError(f"{self.name} option train: expected all or head, got {full['train']!r}")
        full["head_options"] = MODELS[full["head"]].resolve(full["head_options"])
        return full


def backbone_family(name: str) -> Family | None:
    """Return the family of ``on-backbone:NAME``, or None for another name; nothing is opened.

    Args:
        name: what the user gave.

    Raises:
        TrainerError: NAME can be no backbone.

    """
    if not name.startswith(PREFIX):
        return None
    from trainer.backbones import kind_of

    backbone = name.removeprefix(PREFIX)
    kind = kind_of(backbone)
    text = "a pretrained network that is trained on, with a new last layer"
    return BackboneFamily(name, text, kind.source, partial(build_on_backbone, backbone), {}, TRAINING)


def build_on_backbone(
    backbone: str,
    input_shape: Shape,
    num_classes: int,
    *,
    size: int | list[int] | None,
    head: str,
    head_options: dict[str, Any],
    train: Literal["all", "head"],
) -> OnBackbone:
    """Build a backbone with its pretrained weights, and a fresh head on it.

    Args:
        backbone: its name.
        input_shape: (C, H, W) of one image.
        num_classes: number of outputs.
        size: that the backbone sees: N or (height, width); None for what suits it and the images.
        head: family of the head.
        head_options: its options.
        train: with ``head`` the backbone's parameters are frozen.

    Returns:
        A module from images ``[N, C, H, W]``, values from 0 to 1, to ``[N, num_classes]``.

    Raises:
        TrainerError: the backbone cannot be had, or does not take such images.

    """
    from trainer.backbones import open_backbone
    from trainer.backbones.network import on_images
    from trainer.models import MODELS

    found = open_backbone(backbone)
    side = size if isinstance(size, int) else None
    sees = tuple(size) if isinstance(size, list) else found.size_for(side, input_shape[1:])
    eye = on_images(found, sees, input_shape[0])  # type: ignore[arg-type]
    with torch.no_grad():
        d = eye(torch.zeros(1, *input_shape)).shape[1]
    eye.requires_grad_(train == "all")
    return OnBackbone(eye, MODELS[head].builder((d, 1, 1), num_classes, **head_options), d)
