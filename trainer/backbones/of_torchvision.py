"""``torchvision:NAME``: torchvision's networks with the weights that it calls its best, fetched once by torchvision."""

from typing import Any

import torch
from torch import nn

from common.naming import one_of
from trainer.backbones.base import Backbone, BackboneKind, state_sha256
from trainer.backbones.cut import without_last_layer
from trainer.errors import TrainerError

PREFIX = "torchvision:"
SETTINGS = {name: {"transform_input": True, "init_weights": False} for name in ("googlenet", "inception_v3")}
"""What torchvision's own builders set where they are given weights."""


def open_torchvision(name: str) -> Backbone:
    """Return a network of torchvision without its last layer.

    Args:
        name: ``torchvision:NAME``.

    Raises:
        TrainerError: there is none of that name with weights, or these cannot be fetched.

    """
    from torchvision import models

    short = name.removeprefix(PREFIX)
    known = models.list_models(module=models)
    if short not in known:
        raise TrainerError(f"backbone {name}: {one_of(short, known)}")
    weights: Any = models.get_model_weights(short).DEFAULT
    try:
        state = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        folder = f"{torch.hub.get_dir()}/checkpoints"
        raise TrainerError(
            f"backbone {name}: its weights cannot be fetched ({' '.join(str(error).split())[:120]}): put "
            f"{weights.url.rpartition('/')[2]} into {folder}"
        ) from error
    preset = weights.transforms()
    crop = preset.crop_size
    side = int(crop[0] if isinstance(crop, list | tuple) else crop)

    def build() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            net = models.get_model(short, weights=None, **SETTINGS.get(short, {}))
        net.load_state_dict(state)
        return without_last_layer(net.eval(), (len(preset.mean), side, side))

    fixed = short.startswith(("vit_", "maxvit"))
    mean, std = tuple(map(float, preset.mean)), tuple(map(float, preset.std))
    return Backbone(name, state_sha256(state, short), build, (side, side), mean, std, fixed=fixed)


KIND = BackboneKind(
    name=f"{PREFIX}NAME",
    description="a network of torchvision with its default weights, such as torchvision:resnet18, fetched once",
    source="https://docs.pytorch.org/vision/stable/models.html",
    opens=open_torchvision,
)
