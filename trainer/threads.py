"""How many of torch's threads a network is worth."""

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

GRAIN = 0.75e9
"""Operations of a step that a thread must have to itself before another one is of use.

Measured on two cores (benchmarks/RESULTS.md): with less, a second thread gains a quarter at best where nothing else
runs, and makes a step up to ten times slower where something does.
"""
TRIALS = 3
"""Steps that are timed with one thread and with more, in turn; the fastest of each counts."""


def choose_threads(model: nn.Module, x: Tensor, batch_size: int) -> int:
    """Return how many of torch's threads to train a network with, at least 1.

    Where ``OMP_NUM_THREADS`` says how many, as for the cells of a comparison, that many.  Else one where a step's work
    is small, whatever the machine does besides; else as many as ``suited_threads`` says if they are faster now.

    Args:
        model: the network, on the CPU; left in eval mode and without gradients.
        x: an input ``[1, ...]``.
        batch_size: images in a step.

    """
    if "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    threads = suited_threads(model, x, batch_size)
    if threads == 1:
        return 1
    batch = x.expand(batch_size, *x.shape[1:]).clone()
    one, more = math.inf, math.inf
    for trial in range(1 + TRIALS):
        with with_threads(1):
            alone = _step_seconds(model, batch)
        with with_threads(threads):
            together = _step_seconds(model, batch)
        if trial:  # the first of each warms up
            one, more = min(one, alone), min(more, together)
    return threads if more < one else 1


def suited_threads(model: nn.Module, x: Tensor, batch_size: int) -> int:
    """Return the most threads that a step's work is worth, of those that torch has now.

    threads = 3 F B / GRAIN rounded down, F being the operations of a forward pass on one image; the backward pass takes
    two more.

    Args:
        model: as of ``choose_threads``, like all that follow.
        x: one input.
        batch_size: B.

    """
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    step = 3 * counter.get_total_flops() * batch_size
    return max(1, min(int(step / GRAIN), torch.get_num_threads()))


@contextmanager
def with_threads(count: int) -> Iterator[None]:
    """Let torch compute with so many threads, and with as many as before afterwards.

    Args:
        count: at least 1.

    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _step_seconds(model: nn.Module, batch: Tensor) -> float:
    started = time.perf_counter()
    model(batch).square().sum().backward()
    seconds = time.perf_counter() - started
    model.zero_grad(set_to_none=True)
    return seconds
