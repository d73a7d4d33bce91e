"""What machine this is, as runs and reports name it."""

import os
import platform
from pathlib import Path


def hardware() -> dict[str, str]:
    """Describe this machine, one fact a key: processor, cores that this process may use, GPUs, memory, system."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "CPU": f"{_cpu_name()}, {_usable_cores()} cores, {torch.get_num_threads()} threads",
        "GPU": ", ".join(gpus) if gpus else "none",
        "memory": f"{memory:.1f} GiB",
        "system": f"Python {platform.python_version()} on {platform.system()} {platform.machine()}",
    }


def spell_hardware(facts: dict[str, str]) -> str:
    """Return what ``hardware`` found in one line."""
    return "; ".join(f"{name}: {value}" for name, value in facts.items())


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or platform.machine()
