"""Weights as files: safetensors only, loaded whole or not at all."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialise
from torch import Tensor, nn

from common.naming import did_you_mean
from common.reading import read_regular, why
from trainer.errors import CheckpointError

if TYPE_CHECKING:
    from trainer.learners import Trained

SHOWN = 3  # names in one message
WEIGHTS = "weights.safetensors"
BESIDE = "beside.safetensors"
"""Weights of what the learner trains beside the network."""
STUDENT = "student.safetensors"
"""Weights that steps led to, where those of the network are averages over them."""


def weight_bytes(model: nn.Module) -> bytes:
    """Return the safetensors file of a network, in memory.

    Args:
        model: the network, on any device.

    """
    return state_bytes(model.state_dict())


def state_bytes(state: Mapping[str, Tensor]) -> bytes:
    """Return the safetensors file of named tensors, in memory.

    Args:
        state: tensors by name, on any device.

    """
    return serialise({name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()})


def snapshot_name(epoch: int) -> str:
    """Return what the file of the weights after an epoch is called.

    Args:
        epoch: its number; 0 is before the first.

    """
    return f"epoch-{epoch}.safetensors"


def trained_files(model: nn.Module, result: "Trained") -> dict[str, bytes]:
    """Return all weights that a training left, as files by name: the network's, its student's, any beside and kept.

    Args:
        model: the network.
        result: what ``fit`` returned.

    """
    kept = {snapshot_name(epoch): state_bytes(state) for epoch, state in result.snapshots.items()}
    beside = {BESIDE: state_bytes(result.beside)} if result.beside else {}
    student = {STUDENT: state_bytes(result.student)} if result.averaged else {}
    return {WEIGHTS: weight_bytes(model), **beside, **student, **kept}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file by their qualified names; nothing in it is executed.

    Args:
        path: a safetensors file.

    Raises:
        CheckpointError: the file is missing or damaged.

    """
    try:
        return parse(read_regular(path))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({why(error)}); check the path") from error
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({error}); write it again") from error


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill a network with the weights in a file; on any error the network is left as it was.

    Args:
        model: a network of the architecture that was saved; its mode and device stay.
        path: a safetensors file.

    Raises:
        CheckpointError: the file is missing, damaged, holds numbers that are not finite, or was written by another
            architecture.

    """
    found, expected = read_weights(path), model.state_dict()
    problem = _mismatch(expected, found)
    if problem:
        raise CheckpointError(f"{path} does not fit this network: {problem}; use the model it was written by")
    for name, tensor in found.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path}: {name} holds values that are not finite; train again")
    model.load_state_dict(found)


def with_weights(model: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of a network with other weights.

    Args:
        model: the network; left as it is.
        state: of the same architecture.

    """
    other = copy.deepcopy(model)
    other.load_state_dict(dict(state))
    return other


def initialise(model: nn.Module, state: Mapping[str, Tensor], skip: Sequence[str] = ()) -> None:
    """Give a network pretrained weights but for those left out; on any error it is left as it was.

    Floating-point types are converted to the network's. Counters of batches, which older files lack, may be missing.

    Args:
        model: a fresh network; what is left out keeps its own initial weights.
        state: qualified name -> tensor.
        skip: names of layers or tensors, of the network or the file, that are left out, such as ``fc``.

    Raises:
        CheckpointError: names that only one side has, other shapes, numbers that are not finite, or a name in ``skip``
            that neither side has.

    """
    own = model.state_dict()
    unused = [layer for layer in skip if not any(_lies_in(name, layer) for name in (*own, *state))]
    if unused:
        layers = _layers([*own])
        meant = did_you_mean(unused[0], [*layers, *own])
        raise CheckpointError(f"model.init_skip: there is no layer {_some(unused)}; there are {_some(layers)}{meant}")
    wanted = {name for name in own if not any(_lies_in(name, layer) for layer in skip)}
    found = {name: tensor for name, tensor in state.items() if not any(_lies_in(name, layer) for layer in skip)}
    missing = sorted(name for name in wanted - found.keys() if not name.endswith("num_batches_tracked"))
    both = sorted(wanted & found.keys())
    other = [_shapes(name, found[name], own[name]) for name in both if _differ(found[name], own[name])]
    for what, names in (("missing", missing), ("unexpected", sorted(found.keys() - wanted)), ("different:", other)):
        if names:
            raise CheckpointError(
                f"the weights do not fit this network: {what} {_some(names)}; to leave layers out, such as one for "
                f'other classes, list them: --set "model.init_skip={_layers(names)[:SHOWN]}"'
            )
    for name, tensor in found.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{name} holds values that are not finite; use another file")
    model.load_state_dict({**own, **found})


def _lies_in(name: str, layer: str) -> bool:
    return name == layer or name.startswith(f"{layer}.")


def _differ(found: Tensor, own: Tensor) -> bool:
    return found.shape != own.shape or found.is_floating_point() != own.is_floating_point()


def _shapes(name: str, found: Tensor, own: Tensor) -> str:
    return f"{name} is {list(found.shape)} in the file but {list(own.shape)} in the network"


def _layers(problems: Sequence[str]) -> list[str]:
    """Return the layers that tensors belong to, each once: ``fc`` of ``fc.weight is ...``."""
    names = [problem.partition(" ")[0] for problem in problems]
    return list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))


def _mismatch(expected: dict[str, Tensor], found: dict[str, Tensor]) -> str:
    """Say what keeps ``found`` from being the weights of a network, or an empty string."""
    missing, unexpected = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unexpected:
        kinds = (("missing", missing), ("unexpected", unexpected))
        return ", ".join(f"{kind} {_some(names)}" for kind, names in kinds if names)
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape or found[name].dtype != tensor.dtype:
            return (
                f"{name} is {found[name].dtype} {list(found[name].shape)} in the file but {tensor.dtype} "
                f"{list(tensor.shape)} in the network"
            )
    return ""


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
