"""How much memory there is, and how the parameters are cut so that the kernel's features fit into it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from linearize.errors import MemoryBudgetError

GIB = 2**30
DEFAULT_BUDGET = 4 * GIB
"""Fixed rather than a share of what is free: the budget decides in which pieces float32 sums are accumulated, and the
same run must give the same bits whatever else the machine does."""
FEATURE_BYTES = 4  # float32
KERNEL_BYTES = 8  # float64
TRANSIENT_COPIES = 3  # one block's gradients live as backward output, as concatenation and in flight to the Gram


class Chunk(NamedTuple):
    """Columns ``start:stop`` of the concatenated gradients of the parameter arrays ``leaves``."""

    leaves: tuple[int, ...]
    start: int
    stop: int


def available_memory() -> int:
    """Return the bytes that can be allocated without swapping, as far as the system and its container tell."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = meminfo.read_text().splitlines()
        limits += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    group, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if group.exists() and used.exists() and (limit := group.read_text().strip()).isdigit():
        limits.append(int(limit) - int(used.read_text()))
    return min(limits)


def plan_chunks(leaf_sizes: Sequence[int], n: int, block: int, budget: int) -> list[Chunk]:
    """Group the parameter arrays into chunks whose features ``[N, P_chunk]`` fit into ``budget`` bytes beside Θ.

    Fewer chunks mean fewer repeated backward passes; an array too large for the budget is cut by columns.

    Args:
        leaf_sizes: entries of each parameter array, in tree order.
        n: number of examples.
        block: examples whose gradients exist at once.
        budget: bytes.

    Returns:
        Chunks covering every column of every array exactly once.

    Raises:
        MemoryBudgetError: not even one column of the largest array fits (the message names the budget that would), or
            the machine has less free memory than the plan would take.

    """
    fixed = KERNEL_BYTES * n * n
    transient = TRANSIENT_COPIES * FEATURE_BYTES * block * max(leaf_sizes)
    room = (budget - fixed - transient) // (FEATURE_BYTES * n)  # columns that fit
    if room < 1:
        needed = fixed + transient + FEATURE_BYTES * n
        raise MemoryBudgetError(
            f"the kernel of {n} examples needs at least {needed / GIB:.2f} GiB, the budget is {budget / GIB:.2f} GiB: "
            "score fewer candidates, use smaller blocks or raise the memory budget"
        )
    chunks: list[Chunk] = []
    gathered: list[int] = []
    columns = 0
    for leaf, size in enumerate(leaf_sizes):
        if gathered and columns + size > room:
            chunks.append(Chunk(tuple(gathered), 0, columns))
            gathered, columns = [], 0
        if size > room:
            chunks.extend(Chunk((leaf,), start, min(start + room, size)) for start in range(0, size, room))
        else:
            gathered.append(leaf)
            columns += size
    if gathered:
        chunks.append(Chunk(tuple(gathered), 0, columns))
    estimate = fixed + transient + FEATURE_BYTES * n * max(chunk.stop - chunk.start for chunk in chunks)
    if estimate > available_memory():
        raise MemoryBudgetError(
            f"the kernel of {n} examples would take {estimate / GIB:.2f} GiB, but {available_memory() / GIB:.2f} GiB "
            "are free: lower the memory budget or score fewer candidates"
        )
    return chunks
