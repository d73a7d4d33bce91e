"""Compiling for a comparison: what is computed a few times need not be fast, but compiled soon."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jax

CHEAP: dict[str, bool | int] = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
"""Settings of XLA under which code for a CPU is made in a fraction of the time, and runs about as fast.

XLA's newer emitters of fused loops cost most of it: each loop goes through a compiler of its own (MLIR) before LLVM.
"""


def jit_cheaply(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function, compiled with as little effort as XLA takes.

    Args:
        function: of arrays; it may call functions that are jitted, which are compiled with it.

    """
    return jax.jit(function, compiler_options=_known_options())


@cache
def _known_options() -> dict[str, bool | int]:
    """Those of the settings that the installed XLA has; it names its settings anew at times."""
    return {name: value for name, value in CHEAP.items() if _is_known(name, value)}


def _is_known(name: str, value: bool | int) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options={name: value})()
    except jax.errors.JaxRuntimeError:
        return False
    return True
