"""A network that tells more classes apart goes on from one that told fewer: old weights stay, new ones begin anew."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.errors import CheckpointError


def grow(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a new network the weights of one that differs from it by having fewer classes alone.

    W[:C_old] = W_old and W[C_old:] stays as it is, for every tensor whose first dimension counts classes; every other
    tensor has its shape and is copied.

    Args:
        model: a fresh network of C outputs; on any error it is left as it was.
        state: qualified name -> tensor of the network before, of C_old <= C outputs.

    Raises:
        CheckpointError: a tensor that only one of the two has, or that differs in more than its number of classes, or
            holds values that are not finite; the message names it.

    """
    own = model.state_dict()
    lone = sorted(own.keys() ^ state.keys())
    if lone:
        where = "before" if lone[0] in state else "now"
        raise _refusal(f"{lone[0]}, which is there only {where}")
    classes = dict[tuple[int, int], str]()  # (C_old, C) and the first tensor that has them
    grown = {name: _grown(name, state[name], tensor, classes) for name, tensor in own.items()}
    if len(classes) > 1:
        (few, first), (more, second) = list(classes.items())[:2]
        raise _refusal(f"{second}, which grows from {more[0]} to {more[1]}, and {first} from {few[0]} to {few[1]}")
    model.load_state_dict(grown)


def _grown(name: str, old: Tensor, new: Tensor, classes: dict[tuple[int, int], str]) -> Tensor:
    """Return what a tensor becomes, and note by how much its first dimension grew."""
    shapes = f"{old.dtype} {list(old.shape)} before and {new.dtype} {list(new.shape)} now"
    if old.dtype != new.dtype:
        raise _refusal(f"{name}, which is {shapes}")
    if not bool(torch.isfinite(old).all()):
        raise CheckpointError(f"{name} holds values that are not finite; train again")
    if old.shape == new.shape:
        return old
    if old.ndim != new.ndim or old.shape[1:] != new.shape[1:] or len(old) > len(new):
        raise _refusal(f"{name}, which is {shapes}")
    classes.setdefault((len(old), len(new)), name)
    whole = new.clone()
    whole[: len(old)] = old
    return whole


def _refusal(tensor: str) -> CheckpointError:
    return CheckpointError(
        f"expected networks that differ in the number of their classes alone, as the first dimension of tensors, got "
        f"{tensor}: begin again from the initial weights"
    )
