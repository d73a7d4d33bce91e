"""Decompositions of torch functions that would fix the batch size when recorded, into ones that do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


def take_along_dim(x: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Return ``torch.take_along_dim`` by ``gather``.

    Args:
        x: any tensor.
        indices: positions along the axis; along the others both are broadcast.
        dim: the axis; of the flattened tensors where there is none.

    """
    if dim is None:
        return x.flatten().gather(0, indices.flatten())
    axis = dim % x.ndim
    others = [torch.select(value, axis, 0) for value in (x, indices)]
    shape = list(torch.broadcast_tensors(*others)[0].shape)
    sizes = ([*shape[:axis], value.shape[axis], *shape[axis:]] for value in (x, indices))
    return x.expand(next(sizes)).gather(axis, indices.expand(next(sizes)))


def kron(x: Tensor, y: Tensor) -> Tensor:
    """Return ``torch.kron``, every number of x times all of y, by products and a reshape.

    Args:
        x: any tensor.
        y: any tensor; the one with fewer axes gets leading ones of size one.

    """
    rank = max(x.ndim, y.ndim)
    x, y = (value[(None,) * (rank - value.ndim)] for value in (x, y))
    for axis in range(rank):
        x, y = x.unsqueeze(2 * axis + 1), y.unsqueeze(2 * axis)
    return (x * y).reshape([a * b for a, b in zip(x.shape[::2], y.shape[1::2], strict=True)])


def multi_dot(tensors: list[Tensor]) -> Tensor:
    """Return ``torch.linalg.multi_dot``, the product of matrices, from left to right."""
    return reduce(torch.matmul, tensors)


DECOMPOSITIONS = {
    torch.take_along_dim: take_along_dim,
    Tensor.take_along_dim: take_along_dim,
    torch.kron: kron,
    Tensor.kron: kron,
    torch.linalg.multi_dot: multi_dot,
}


class _Decomposed(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return DECOMPOSITIONS.get(func, func)(*args, **(kwargs or {}))


@contextmanager
def decomposed() -> Iterator[None]:
    """Put the decompositions in place while a forward pass is recorded.

    Torch's transformers look into a mask to see whether it is the causal one; here that is taken for not known, which
    costs speed in torch and changes no number: the mask is applied as it is.
    """
    with _Decomposed(), mock.patch("torch.nn.modules.transformer._detect_is_causal_mask", _said_to_be_causal):
        yield


def _said_to_be_causal(mask: Tensor | None, is_causal: bool | None = None, size: int | None = None) -> bool:
    return is_causal is True
