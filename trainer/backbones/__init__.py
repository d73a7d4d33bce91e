"""Pretrained networks whose features stand for images: the registered kinds, and the one way to open one."""

from collections.abc import Mapping
from pathlib import Path

from common.naming import did_you_mean
from trainer.backbones import efficientnet_lite0, folder, of_timm, of_torchvision, own
from trainer.backbones.base import Backbone, BackboneKind
from trainer.errors import TrainerError
from trainer.models.custom import NAME

__all__ = [
    "BACKBONES",
    "OF_OTHERS",
    "OWN",
    "Backbone",
    "BackboneKind",
    "from_anywhere",
    "kind_of",
    "open_backbone",
    "own_code",
]

BACKBONES: Mapping[str, BackboneKind] = {efficientnet_lite0.NAME: efficientnet_lite0.KIND}
"""Those with a name of their own."""
OF_OTHERS: Mapping[str, BackboneKind] = {of_timm.PREFIX: of_timm.KIND, of_torchvision.PREFIX: of_torchvision.KIND}
"""Those of other packages, by what their names begin with."""
OWN: Mapping[str, BackboneKind] = {kind.name: kind for kind in (own.KIND, folder.KIND)}
"""A user's own."""


def kind_of(name: str) -> BackboneKind:
    """Return the kind of backbone that a name means; nothing is imported or opened.

    Args:
        name: what the user gave.

    Raises:
        TrainerError: it can be none.

    """
    if name in BACKBONES:
        return BACKBONES[name]
    for prefix, kind in OF_OTHERS.items():
        if name.startswith(prefix) and len(name) > len(prefix):
            return kind
    if NAME.fullmatch(name):
        return own.KIND
    if not name or ":" in name:
        raise _unknown(name)
    return folder.KIND


def open_backbone(name: str) -> Backbone:
    """Return a backbone with its weights' digest.

    Args:
        name: as ``kind_of`` takes it.

    Raises:
        TrainerError: there is no such backbone, a package is missing, or its weights cannot be had; one line.

    """
    kind = kind_of(name)
    if kind is folder.KIND and not Path(name).expanduser().is_dir():
        raise _unknown(name)
    return kind.opens(name)


def from_anywhere(name: str) -> str:
    """Return a backbone's name by which it is found from whatever directory: a folder's is its absolute path.

    Args:
        name: what the user gave; one that is wrong comes back as it is, which is said where it is used.

    """
    try:
        path = Path(name).expanduser()
        return str(path.resolve()) if kind_of(name) is folder.KIND and path.is_dir() else name
    except (TrainerError, RuntimeError, OSError, ValueError):  # RuntimeError: the home directory of ~user is not known
        return name


def own_code(name: str) -> str | None:
    """Return what of a user's own a backbone's name would have imported, ``PKG.MOD:FACTORY``; None for nothing.

    Args:
        name: as ``kind_of`` takes it.

    """
    return name if NAME.fullmatch(name) and kind_of(name) is own.KIND else None


def _unknown(name: str) -> TrainerError:
    known = [*BACKBONES, *(kind.name for kind in (*OF_OTHERS.values(), own.KIND))]
    return TrainerError(
        f"backbone: expected {', '.join(known)} or a folder of 'trainer pretrain', got {name!r}"
        f"{did_you_mean(name, BACKBONES)}"
    )
