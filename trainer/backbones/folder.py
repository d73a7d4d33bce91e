"""A folder that ``trainer pretrain`` writes: ``backbone.json`` and ``weights.safetensors``; no code is in it."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.reading import read_json, why
from trainer.backbones.base import Backbone, BackboneKind, Size, shown, state_sha256
from trainer.backbones.cut import Cut, last_name
from trainer.checkpoint import WEIGHTS, read_weights
from trainer.errors import TrainerError
from trainer.models import MODELS, ModelSpec, build
from trainer.models.spec import Shape

ABOUT = "backbone.json"
LARGEST = 2**20
"""Bytes of backbone.json."""


def open_folder(name: str) -> Backbone:
    """Read a folder: the network is one of ``trainer.models``, or a backbone that was trained on.

    Args:
        name: the folder.

    Raises:
        TrainerError: it is missing, damaged, or names a network that is not built in.

    """
    folder = Path(name).expanduser()
    about = _about(folder)
    state = read_weights(folder / WEIGHTS)
    if bad := [key for key, tensor in state.items() if not bool(torch.isfinite(tensor).all())]:
        raise TrainerError(f"{folder / WEIGHTS}: {bad[0]} holds values that are not finite; pretrain again")
    shape, mean, std = about["input_shape"], about["mean"], about["std"]
    size: Size = shape[1:]
    own = about["name"] in MODELS

    def made() -> nn.Module:
        net = _of_family(about, folder) if own else _of_backbone(about["name"])
        _fill(net, state, shape, folder)
        return net if not own else Cut(net).eval()

    digest = state_sha256(state, about)
    return Backbone(name, digest, made, size, mean, std, fixed=own)


def _about(folder: Path) -> dict[str, Any]:
    """Return what ``backbone.json`` says, checked."""
    path = folder / ABOUT
    try:
        plain = read_json(path, LARGEST)
        shape: Shape = tuple(int(side) for side in plain["input_shape"])  # type: ignore[assignment]
        mean, std = (tuple(float(value) for value in plain[key]) for key in ("mean", "std"))
        if len(shape) != 3 or min(shape) < 1 or len(mean) != shape[0] or not all(map(math.isfinite, (*mean, *std))):
            raise ValueError(f"input_shape {list(shape)}, mean {list(mean)}")
        about = {"name": str(plain["name"]), "input_shape": shape, "options": dict(plain["options"])}
    except OSError as error:
        raise TrainerError(
            f"backbone {folder}: cannot read {ABOUT} in it ({why(error)}): expected a folder of 'trainer pretrain'"
        ) from error
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise TrainerError(
            f"{path}: expected what 'trainer pretrain' writes ({type(error).__name__}: {error})"
        ) from error
    return about | {"mean": mean, "std": std}


def _of_family(about: dict[str, Any], folder: Path) -> nn.Module:
    """Build the network of a family and take its last layer away, however many classes that had."""
    shape: Shape = about["input_shape"]
    try:
        net = build(ModelSpec(about["name"], shape, 2, about["options"]), 0)
        name = last_name(net, shape)
    except TrainerError as error:
        raise TrainerError(f"{folder / ABOUT}: {error}") from error
    net.set_submodule(name, nn.Identity())
    return net


def _of_backbone(name: str) -> nn.Module:
    from trainer.backbones import BACKBONES, OF_OTHERS, kind_of

    if kind_of(name) not in (*BACKBONES.values(), *OF_OTHERS.values()):
        raise TrainerError(
            f"{ABOUT} names the network {name!r}, which is not built in: give your own with --backbone PKG.MOD:FACTORY"
        )
    return kind_of(name).opens(name).build()


def _fill(net: nn.Module, state: dict[str, Tensor], shape: Shape, folder: Path) -> None:
    """Load the weights; what belongs to the last layer, which is not there, is left out."""
    own = net.state_dict()
    for prefix in ("", "net."):
        if own.keys() <= {f"{prefix}{key}" for key in state}:
            found = {f"{prefix}{key}": value for key, value in state.items()}
            break
    else:
        lost = sorted(own.keys() - state.keys())
        raise TrainerError(
            f"{folder / WEIGHTS} does not fit the network of {ABOUT}: {len(lost)} tensors are missing, such as "
            f"{lost[0]}; pretrain again"
        )
    other = [key for key, value in own.items() if found[key].shape != value.shape]
    if other:
        raise TrainerError(
            f"{folder / WEIGHTS} does not fit the network of {ABOUT} for images of {shown(shape[1:])}: {other[0]} is "
            f"{list(found[other[0]].shape)}, expected {list(own[other[0]].shape)}"
        )
    net.load_state_dict({key: found[key] for key in own})


KIND = BackboneKind(
    name="FOLDER",
    description="a folder that 'trainer pretrain' wrote: features learned from your own images without labels",
    source="docs/backbones.md",
    opens=open_folder,
)
