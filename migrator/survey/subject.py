"""A network to be surveyed: random weights that hide nothing, and not more blocks than say something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

EXAMPLES = 5
SEED = 0
DISTURBANCE = 0.1
KEPT = 2
"""How many blocks in a row stay that have tensors of the same shapes: shifted windows and the like come in turns."""


class Subject(NamedTuple):
    """A network, and what it is run on.

    Args:
        module: in evaluation mode, with random weights.
        inputs: one array ``[EXAMPLES, ...]`` for each input.
        size: side of the images, or length of the texts.

    """

    module: nn.Module
    inputs: tuple[np.ndarray, ...]
    size: int


def images(side: int, channels: int = 3) -> np.ndarray:
    """Return standard normal images ``[EXAMPLES, C, H, W]``.

    Args:
        side: H and W.
        channels: C.

    """
    shape = (EXAMPLES, channels, side, side)
    return np.random.default_rng(SEED).standard_normal(shape).astype(np.float32)


def runs(module: nn.Module, inputs: tuple[np.ndarray, ...]) -> bool:
    """Return whether torch itself can run a module on the first of its examples.

    Args:
        module: in evaluation mode.
        inputs: one array for each input.

    """
    try:
        with torch.no_grad():
            module(*(torch.from_numpy(value[:1]) for value in inputs))
    except Exception:  # networks refuse a size in many ways, assertions among them
        return False
    return True


def disturb(module: nn.Module) -> nn.Module:
    """Return a module with batch-norm statistics as after a training, in evaluation mode.

    What its package sets to a constant is disturbed: a head of zeros, or a layer scale of 1e-6, would hide differences.

    Args:
        module: changed in place.

    """
    with torch.no_grad():
        for value in module.parameters():
            if value.numel() and bool((value == value.flatten()[0]).all()):
                value.add_(torch.randn_like(value), alpha=DISTURBANCE)
        for key, buffer in module.named_buffers():
            if key.endswith("running_mean"):
                buffer.normal_(0, DISTURBANCE)
            elif key.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return module.eval()


def shorten(module: nn.Module, inputs: tuple[np.ndarray, ...]) -> None:
    """Leave out blocks that repeat: of blocks in a row with tensors of the same shapes, the first two stay.

    Where the network does not run any more without them, they come back.

    Args:
        module: changed in place.
        inputs: what it must still run on.

    """
    for rows in list(_rows(module)):
        every = dict(rows._modules)
        kept: list[nn.Module | None] = []
        previous, count = None, 0
        for block in every.values():
            shapes = [tuple(value.shape) for value in block.state_dict().values()] if block is not None else []
            count = count + 1 if shapes and shapes == previous else 1
            previous = shapes
            if count <= KEPT:
                kept.append(block)
        if len(kept) < len(every):
            rows._modules = {str(i): block for i, block in enumerate(kept)}
            if not runs(module, inputs):
                rows._modules = every


def _rows(module: nn.Module) -> Iterator[nn.Module]:
    for part in module.modules():
        if isinstance(part, nn.Sequential | nn.ModuleList) and len(part) > KEPT:
            yield part
