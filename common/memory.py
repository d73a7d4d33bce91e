"""How much memory there is, and sizes as people write them."""

import ctypes
import os
import re
from contextlib import suppress
from pathlib import Path

MIB, GIB = 2**20, 2**30
UNITS = {"": 1, "B": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("KMGT", start=1)
    for suffix, base in (("B", 1000), ("IB", 1024), ("", 1024))
}
LARGEST = 2**60
DEFAULT_SHARE = 2
"""The default budget is what is free divided by this, rounded down to a power of two: on one machine it is then the
same from run to run, and with it the order in which sums are accumulated."""


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


def resident_memory() -> int:
    """Return the bytes of memory that this process holds now; 0 where the system does not tell."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def give_back_memory() -> None:
    """Hand freed memory back to the system, where the C library has a way to: it would keep arrays of up to 32 MiB."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def default_budget() -> int:
    """Return the memory budget where none is given: half of what is free, rounded down to a power of two."""
    return 1 << max((available_memory() // DEFAULT_SHARE).bit_length() - 1, 20)


def parse_bytes(text: str | int) -> int:
    """Read a size such as ``4GiB``, ``500MB`` or a plain number of bytes.

    Args:
        text: what the user gave.

    Raises:
        ValueError: it is neither, or not positive.

    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(text))
    size = float(found[1]) * UNITS.get(found[2].upper(), 0) if found else 0.0
    if not 0 < size <= LARGEST:
        raise ValueError(f"memory budget: expected a positive size such as 4GiB, 500MB or 2000000000, got {text!r}")
    return int(size)


def shown(size: float) -> str:
    """Write a size with the unit that fits it: ``3.2 GiB``, ``41 MiB``."""
    return f"{size / GIB:.2f} GiB" if size >= GIB else f"{max(size, 0) / MIB:.0f} MiB"
