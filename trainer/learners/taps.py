"""Where a network's features are read while it runs: places that one look at it finds, and nothing in it changes."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import pooling

from trainer.errors import TrainerError

POOLS = tuple(kind for name, kind in vars(pooling).items() if "Pool" in name and not name.startswith("_"))
"""Layers that sum up what was there before: their inputs are read already."""
LOOK = 2
"""Images of the pass that finds the places."""


class Tap(NamedTuple):
    """A place in a network whose values are read.

    Args:
        layer: its qualified name.
        call: which of the layer's calls in one pass, the first being 0.
        given: whether what the layer is given is read, and not what it returns.
        width: features d.

    """

    layer: str
    call: int
    given: bool
    width: int


class _Call(NamedTuple):
    layer: str
    call: int
    module: nn.Module
    given: Any
    returned: Any


def find_taps(model: nn.Module, input_shape: Sequence[int]) -> tuple[Tap, ...]:
    """Find the places at which a network's features are read, by one pass of images that are all zero.

    They are the last activation ``[B, d, H, W]`` at each resolution (H, W), in the order in which the network comes to
    them, and what every ``torch.nn.Linear`` but the first is given, ``[B, .., d]``.  So of a residual network they are
    the outputs of its groups of blocks, as Yoo & Kweon 2019, section 3.2, has it; of a fully connected network, its
    hidden layers.  Pooled activations are left out.  Where they are depends on the architecture alone, not on weights.

    Args:
        model: the network; weights, statistics, mode and hooks are afterwards what they were, and torch's generators.
        input_shape: (C, H, W) of one image.

    Raises:
        TrainerError: there is no such place.

    """
    maps, vectors = dict[tuple[int, int], Tap](), list[Tap]()
    left_out, seen, linear = list[Any](), list[Any](), False
    for one in _calls(model, input_shape):
        if isinstance(one.module, POOLS):
            left_out.append(one.returned)
        elif _is_map(one.returned) and not _among(one.returned, left_out):
            resolution = (one.returned.shape[2], one.returned.shape[3])
            maps.pop(resolution, None)  # so that it comes last
            maps[resolution] = Tap(one.layer, one.call, False, one.returned.shape[1])
        if isinstance(one.module, nn.Linear):
            if linear and not _among(one.given, seen):
                vectors.append(Tap(one.layer, one.call, True, one.module.in_features))
            seen.append(one.given)
            linear = True
    if not maps and not vectors:
        raise TrainerError(
            f"the learner loss-prediction: expected a network with convolutions or hidden linear layers, made of "
            f"torch.nn modules, to read features of; found none in {type(model).__name__}: choose supervised"
        )
    return (*maps.values(), *vectors)


def _is_map(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4 and len(value) == LOOK and value.is_floating_point()


def _among(value: Any, others: Sequence[Any]) -> bool:
    """Whether it is one of these objects: a container returns what its last layer does."""
    return any(value is other for other in others)


@torch.no_grad()
def _calls(model: nn.Module, input_shape: Sequence[int]) -> list[_Call]:
    """Return every layer's calls of one pass in eval mode, in the order in which they end."""
    calls, counts, training = list[_Call](), Counter[str](), model.training
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))

    def ran(layer: str, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], returned: Any) -> None:
        value = given[0] if given else next(iter(named.values()), None)
        calls.append(_Call(layer, counts[layer], module, value, returned))
        counts[layer] += 1

    handles = [
        module.register_forward_hook(partial(ran, layer), with_kwargs=True) for layer, module in model.named_modules()
    ]
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            model.eval()
            model(torch.zeros(LOOK, *input_shape, device=device))
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)
    return calls


@contextmanager
def reading(model: nn.Module, taps: Sequence[Tap]) -> Iterator[list[Tensor]]:
    """Read features while a network runs, once, inside of the ``with``: averages over positions, part of the graph.

    Args:
        model: the network; its hooks are afterwards what they were, whatever happens.
        taps: where, see ``find_taps``.

    Yields:
        A list that holds ``[B, d]`` of each place after the pass.

    Raises:
        TrainerError: the network did not come to one of the places.

    """
    found, counts, features = dict[int, Tensor](), Counter[str](), list[Tensor]()
    places = {(tap.layer, tap.call): number for number, tap in enumerate(taps)}

    def ran(layer: str, _: nn.Module, given: tuple[Any, ...], named: dict[str, Any], returned: Any) -> None:
        number = places.get((layer, counts[layer]))
        counts[layer] += 1
        if number is None:
            return
        if taps[number].given:
            value = given[0] if given else named["input"]
            found[number] = value.reshape(len(value), -1, value.shape[-1]).mean(dim=1)  # [B, .., d] to [B, d]
        else:
            found[number] = returned.mean(dim=(2, 3))  # [B, d, H, W] to [B, d]

    handles = [
        model.get_submodule(layer).register_forward_hook(partial(ran, layer), with_kwargs=True)
        for layer in dict.fromkeys(tap.layer for tap in taps)
    ]
    try:
        yield features
    finally:
        for handle in handles:
            handle.remove()
    if missing := [tap.layer for number, tap in enumerate(taps) if number not in found]:
        raise TrainerError(
            f"the learner loss-prediction: expected a network that runs the same layers in every pass, but "
            f"{missing[0]} did not run: choose supervised"
        )
    features.extend(found[number] for number in range(len(taps)))
