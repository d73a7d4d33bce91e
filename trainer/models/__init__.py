"""The registered networks, and the one way to build them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from common.naming import did_you_mean
from common.settings import kept
from trainer.errors import TrainerError
from trainer.models import cnn, cnn_gap, convnet, linear, mlp, resnet, tutorial_cnn, vgg11, wide_resnet
from trainer.models.custom import build_custom, custom_family, reason, source_sha256
from trainer.models.on_backbone import PREFIX, backbone_family
from trainer.models.size import require_memory
from trainer.models.spec import Family, ModelSpec, Option
from trainer.models.steady import require_steady

__all__ = [
    "CUSTOM_MODEL",
    "MODELS",
    "Family",
    "ModelSpec",
    "Option",
    "build",
    "build_model",
    "check_evaluation",
    "custom_family",
    "family_of",
    "own_factory",
    "require_fits",
    "source_sha256",
]

MODELS: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY
    for module in (mlp, cnn, resnet, wide_resnet, linear, tutorial_cnn, cnn_gap, vgg11, convnet)
}

CUSTOM_MODEL: dict[str, Family] = {
    "PKG.MOD:FACTORY": Family(
        name="PKG.MOD:FACTORY",
        description="your own network: def build(input_shape, num_classes), such as my_net:build for my_net.py in the "
        "current directory, or torchvision.models:resnet18; model.options are passed on",
        source="docs/own-network.md",
        builder=build_custom,
        options={},
    )
}
"""How a network of a user's own is named and made."""


def family_of(name: str) -> Family:
    """Return the family of a name, or of a user's own factory ``PKG.MOD:FACTORY``, which is not imported.

    Args:
        name: a key of ``MODELS``, ``on-backbone:NAME``, or ``PKG.MOD:FACTORY``.

    Raises:
        TrainerError: no such family; the message lists those there are.

    """
    family = MODELS.get(name) or backbone_family(name) or custom_family(name)
    if family is None:
        names, meant = ", ".join(MODELS), did_you_mean(name, MODELS)
        raise TrainerError(f"there is no model {name!r}; choose one of {names}, or PKG.MOD:FACTORY{meant}")
    return family


def own_factory(name: str) -> str | None:
    """Return the factory of a user's own, ``PKG.MOD:FACTORY``, that building a network would import; None for none.

    Args:
        name: of the network.

    """
    if name in MODELS:
        return None
    if not name.startswith(PREFIX):
        return name if custom_family(name) else None
    from trainer.backbones import own_code

    return own_code(name.removeprefix(PREFIX))


def require_fits(spec: ModelSpec) -> None:
    """Refuse a registered network that memory does not hold; of a user's own nobody knows before it is made.

    Args:
        spec: which network.

    Raises:
        TrainerError: it is too large.

    """
    if (family := MODELS.get(spec.name)) is not None:
        options = family.resolve(spec.options)
        require_memory(spec.name, family.builder, spec.input_shape, spec.num_classes, options)


def build(spec: ModelSpec, seed: int | None = None) -> nn.Module:
    """Build a freshly initialised network, in eval mode, on the CPU.

    Args:
        spec: which network.
        seed: of the initial weights; the same seed gives the same weights. None draws one from the operating
            system. Torch's global generator is left as it was.

    Returns:
        A module from float32 ``[N, C, H, W]`` to ``[N, num_classes]``.

    Raises:
        TrainerError: unknown family or option, a value the family does not allow, a network that memory does not hold,
            or a factory of a user's own that cannot be imported or makes no network for these images and classes.

    """
    family = family_of(spec.name)
    options = family.resolve(spec.options)
    require_fits(spec)
    with torch.random.fork_rng(devices=[]):
        if seed is None:
            torch.seed()
        else:
            torch.manual_seed(seed)
        return family.builder(spec.input_shape, spec.num_classes, **options).eval()


def check_evaluation(spec: ModelSpec) -> None:
    """Refuse a user's own network that cannot be measured, as ``require_steady`` does; ours are known to pass.

    Args:
        spec: which network; it is built once more.

    Raises:
        TrainerError: its outputs depend on the batch or on chance, or as of ``build``.

    """
    if custom_family(spec.name) is None:
        return
    try:
        with kept():
            require_steady(build(spec, seed=0), spec.input_shape)
    except TrainerError as error:
        raise TrainerError(f"--model {spec.name}: {error}") from error
    except (Exception, SystemExit) as error:  # a user's own code may do anything
        raise TrainerError(f"--model {spec.name} cannot be asked in eval mode ({reason(error)})") from error


def build_model(
    name: str, input_shape: Sequence[int], num_classes: int, seed: int | None = None, **options: Any
) -> nn.Module:
    """Call ``build`` with plain values, for tools that take an importable factory (``trainer.models:build_model``).

    Args:
        name: a key of ``MODELS``, or ``PKG.MOD:FACTORY``.
        input_shape: (C, H, W) of one image.
        num_classes: number of outputs.
        seed: of the initial weights; None draws one from the operating system.
        **options: options of the family.

    Returns:
        A module from float32 ``[N, C, H, W]`` to ``[N, num_classes]``.

    Raises:
        TrainerError: unknown family or option, or a value the family does not allow.

    """
    channels, height, width = input_shape
    return build(ModelSpec(name, (channels, height, width), num_classes, options), seed)
