"""``timm:NAME``: timm's pretrained networks, fetched once by timm."""

import re
from typing import Any

import torch
from torch import nn

from common.naming import did_you_mean
from trainer.backbones.base import Backbone, BackboneKind, missing, state_sha256
from trainer.errors import TrainerError

PREFIX, EXTRA = "timm:", "timm"


def open_timm(name: str, overlay: dict[str, Any] | None = None) -> Backbone:
    """Return a network of timm that gives its pooled features.

    Args:
        name: ``timm:NAME``, or ``timm:NAME.TAG`` for one of several weights.
        overlay: what differs from timm's own record of the weights, such as ``{"file": path}``.

    Raises:
        TrainerError: timm is not installed, has no such network, or cannot fetch its weights.

    """
    try:
        import timm
    except ImportError as error:
        raise missing(name, EXTRA, error) from error
    short = name.removeprefix(PREFIX)
    known = timm.list_models()
    if not re.fullmatch(r"[\w.\-]+", short) or short.partition(".")[0] not in known:
        hint = did_you_mean(short, known) or ": https://huggingface.co/timm lists them"
        raise TrainerError(f"backbone {name}: expected one of timm's {len(known):,} networks, got {short!r}{hint}")
    try:
        with torch.random.fork_rng(devices=[]):
            net: Any = timm.create_model(short, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay).eval()
    except Exception as error:  # timm, its hub client and the network raise of many kinds
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise TrainerError(f"backbone {name}: its weights cannot be had ({reason})") from error
    facts = timm.data.resolve_model_data_config(net)
    _, height, width = facts["input_size"]
    mean, std = tuple(map(float, facts["mean"])), tuple(map(float, facts["std"]))
    fixed = bool((net.pretrained_cfg or {}).get("fixed_input_size"))
    state = net.state_dict()

    def build() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            fresh: nn.Module = timm.create_model(short, pretrained=False, num_classes=0)
        fresh.load_state_dict(state)
        return fresh.eval()

    return Backbone(name, state_sha256(state, short), build, (height, width), mean, std, fixed=fixed)


KIND = BackboneKind(
    name=f"{PREFIX}NAME",
    description=f"a pretrained network of timm, such as timm:resnet18.a1_in1k, fetched once; with the extra {EXTRA}",
    source="Wightman, PyTorch image models (2019), https://github.com/huggingface/pytorch-image-models",
    opens=open_timm,
)
