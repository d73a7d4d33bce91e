"""Indexing by a mask of which a batch of N examples has a + bN places that are set, whatever the examples are.

``x[mask]`` has a shape that depends on values, so it is recorded as ``x[positions]``, with as many positions as were
counted on made-up inputs. Where another batch has another number of them, the result is NaN, as torch itself would
stop at the shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from migrator.errors import MigratorError
from migrator.reference import run

SIZES = (2, 3, 5)
"""Batches on which places are counted: two for the line, one to see that it is one."""

SEED = 0

Count = tuple[int, int]
"""a and b of the a + bN places of one index."""


def counts_of(module: nn.Module, example_inputs: tuple[Tensor, ...]) -> list[Count] | None:
    """Return how many places each index by a mask takes, in the order in which the forward pass makes them.

    Args:
        module: in evaluation mode.
        example_inputs: what it takes.

    Returns:
        One pair for each index; ``None`` where a number depends on the examples, or the made-up ones are refused.

    """
    first = _Counting()
    with first:
        run(module, example_inputs)
    if not first.places:
        return []
    found: list[list[int]] = []
    generator = torch.Generator().manual_seed(SEED)
    for size in (*SIZES, *SIZES):
        counting = _Counting()
        with torch.no_grad(), counting:
            try:
                run(module, tuple(_made_up(value, size, generator) for value in example_inputs))
            except MigratorError:
                return None
        found.append(counting.places)
    if len({len(places) for places in found}) != 1:
        return None
    lines = [_line(numbers) for numbers in zip(*found, strict=True)]
    return None if None in lines else [line for line in lines if line is not None]


def _line(numbers: tuple[int, ...]) -> Count | None:
    slope, rest = divmod(numbers[1] - numbers[0], SIZES[1] - SIZES[0])
    start = numbers[0] - slope * SIZES[0]
    fits = all(start + slope * size == number for size, number in zip((*SIZES, *SIZES), numbers, strict=True))
    return (start, slope) if fits and not rest else None


def _made_up(value: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Noise in the shape of an input for a batch of that size; whole numbers are shuffled as they are."""
    if value.is_floating_point():
        return torch.randn((size, *value.shape[1:]), generator=generator).to(value)
    rows = value.flatten()[torch.randint(value.numel(), (size * value[0].numel(),), generator=generator)]
    return rows.reshape(size, *value.shape[1:])


class _Counting(TorchFunctionMode):
    """Counts the places of each mask that is an index."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[int] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        mask = _mask_of(func, args, kwargs or {})
        if mask is not None:
            self.places.append(int(mask.sum()))
        return func(*args, **(kwargs or {}))


class _Placing(TorchFunctionMode):
    """Takes positions, as many as were counted, in the place of each mask."""

    def __init__(self, counts: list[Count]) -> None:
        super().__init__()
        self.counts = iter(counts)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        mask = _mask_of(func, args, kwargs or {})
        line = next(self.counts, None) if mask is not None else None
        if mask is None or line is None:
            return func(*args, **(kwargs or {}))
        x, key = _operands(func, args, kwargs or {})
        start, slope = line
        batch = mask.shape[0]
        if slope and isinstance(batch, int):
            return func(*args, **(kwargs or {}))  # its first axis is not the batch: left to be refused
        count = start + slope * batch if slope else start
        places = _first(mask, count)
        index = tuple(part for item in key for part in (places if item is mask else (item,)))
        taken = x[index]
        return torch.where(mask.sum() == count, taken, torch.nan) if taken.is_floating_point() else taken


def _first(mask: Tensor, count: Any) -> tuple[Tensor, ...]:
    """The first places of a mask that are set, in order, axis by axis; those that are not come after them."""
    flat = torch.sort((~mask).flatten().to(torch.uint8), stable=True).indices[:count]
    places: list[Tensor] = []
    for size in reversed(mask.shape[1:]):
        places.insert(0, flat % size)
        flat = flat // size
    return (flat, *places)


def _operands(func: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Tensor, tuple[Any, ...]]:
    """The tensor that is indexed, and by what."""
    if func is Tensor.__getitem__:
        return args[0], args[1] if isinstance(args[1], tuple) else (args[1],)
    return args[0], (args[1] if len(args) > 1 else kwargs["mask"],)


def _mask_of(func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor | None:
    """The one mask of an index by a mask."""
    if func not in (Tensor.__getitem__, torch.masked_select, Tensor.masked_select):
        return None
    x, key = _operands(func, args, kwargs)
    if func is not Tensor.__getitem__ and x.shape != key[0].shape:
        return None
    masks = [item for item in key if isinstance(item, Tensor) and item.dtype == torch.bool and item.ndim]
    return masks[0] if len(masks) == 1 else None


@contextmanager
def placed(counts: list[Count]) -> Iterator[None]:
    """Record each index by a mask as one by positions.

    Args:
        counts: of ``counts_of``; none for a forward pass without such an index.

    """
    if not counts:
        yield
        return
    with _Placing(counts):
        yield
