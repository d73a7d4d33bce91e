"""What a kernel takes at the least, which is known before there is a network."""

import math

import jax

from linearize.engine.plan import THETA_BYTES
from linearize.engine.prepare import RUNTIME
from linearize.errors import MemoryBudgetError
from linearize.memory import shown
from linearize.options import KernelOptions
from linearize.regression import fit_bytes, rectangle_bytes

MIB = 2**20


def least_bytes(L: int, U: int, rows: int, *, full: bool) -> int:
    """Return the bytes of Θ beside XLA's own, or of the regression on it, whichever are more.

    Args:
        L: labelled inputs.
        U: candidates.
        rows: of Θ, an example.
        full: whether Θ(U,U) is wanted too.

    """
    L, U = L * rows, U * rows
    theta = THETA_BYTES * (L + U) * (L + U if full else L)
    runtime = RUNTIME if jax.default_backend() == "cpu" else 0
    return max(theta + runtime, fit_bytes(L, U) if full else rectangle_bytes(L, U))


def check_budget(L: int, U: int, classes: int, options: KernelOptions, *, full: bool) -> None:
    """Refuse a memory budget that no plan of any network can keep; one that passes may still be too small.

    Args:
        L: labelled inputs.
        U: candidates.
        classes: C.
        options: how the kernel is computed; without a memory budget nothing is refused.
        full: whether Θ(U,U) is wanted too.

    Raises:
        MemoryBudgetError: the message says what it takes at the least.

    """
    budget = options.settings.memory_budget
    least = least_bytes(L, U, classes if options.per_logit else 1, full=full)
    if budget is not None and least > budget:
        raise MemoryBudgetError(
            f"the kernel of {L + U} examples does not fit into a memory budget of {shown(budget)}: it takes more than "
            f"{shown(math.ceil(least / MIB) * MIB)}; raise the budget or score fewer candidates"
        )
