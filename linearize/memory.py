"""How much memory there is, and how the parameters are cut so that the kernel's features fit into it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from linearize.errors import MemoryBudgetError

GIB = 2**30
SHARE_OF_AVAILABLE = 0.5
FEATURE_BYTES = 4  # float32
KERNEL_BYTES = 8  # float64
TRANSIENT_COPIES = 3  # one block's gradients live as backward output, as concatenation and in flight to the Gram


class Chunk(NamedTuple):
    """Columns ``start:stop`` of the concatenated gradients of the parameter arrays ``leaves``."""

    leaves: tuple[int, ...]
    start: int
    stop: int


def available_memory() -> int:
    """Return the bytes that can be allocated without swapping, as far as the system tells."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


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
        MemoryBudgetError: not even one column of the largest array fits; the message names the budget that would.

    """
    fixed = KERNEL_BYTES * n * n
    transient = TRANSIENT_COPIES * FEATURE_BYTES * block * max(leaf_sizes)
    room = (budget - fixed - transient) // (FEATURE_BYTES * n)  # columns that fit
    if room < 1:
        needed = fixed + transient + FEATURE_BYTES * n
        raise MemoryBudgetError(
            f"the kernel of {n} examples needs at least {needed / GIB:.2f} GiB, the budget is {budget / GIB:.2f} GiB: "
            "score fewer candidates, use smaller blocks or raise the budget"
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
    return chunks
