"""What a kernel and the posterior on it take at the least, which is known before there is a network."""

import math

import jax
import numpy as np

from common.memory import MIB, shown
from linearize.engine.plan import RUNTIME
from linearize.engine.work import THETA_BYTES
from linearize.errors import MemoryBudgetError
from linearize.options import KernelOptions
from linearize.types import Precision


def covariance_type(precision: Precision) -> np.dtype:
    """Return what S is kept in: as much as Θ was computed with.

    Args:
        precision: in which Θ is computed; ``float32`` means the network's own type, which may be float64 in JAX's mode
            of 64 bits.

    """
    wide = np.dtype(np.float64)
    return wide if precision == "float64" else np.dtype(jax.dtypes.canonicalize_dtype(wide))


def posterior_bytes(L: int, U: int, precision: Precision, *, full: bool, references: int = 0) -> int:
    """Return the bytes that a posterior has alive at its peak, Θ included.

    Args:
        L: rows of the labelled set, L k.
        U: rows of the pool, U k.
        precision: in which Θ is computed.
        full: whether its covariance is formed: Θ, its factor and Φ, and S; else Θ(X∪U,X), F, Φ and Φ squared.
        references: rows of S that are kept where it is not; they are there twice while others join them.

    """
    if not full:
        rows = references * U * (8 + 2 * covariance_type(precision).itemsize)
        return 8 * (3 * L * L + 3 * L * U) + rows
    return 8 * ((L + U) ** 2 + 2 * L * L + L * U) + covariance_type(precision).itemsize * U * U


def least_bytes(L: int, U: int, rows: int, precision: Precision, *, full: bool) -> int:
    """Return the bytes of Θ beside XLA's own, or of the posterior on it, whichever are more.

    Args:
        L: labelled inputs.
        U: candidates.
        rows: of Θ, an example.
        precision: in which Θ is computed.
        full: whether Θ(U,U) is wanted too.

    """
    L, U = L * rows, U * rows
    theta = THETA_BYTES * (L + U) * (L + U if full else L)
    runtime = RUNTIME if jax.default_backend() == "cpu" else 0
    return max(theta + runtime, posterior_bytes(L, U, precision, full=full))


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
    least = least_bytes(L, U, options.rows(classes), options.precision, full=full)
    if options.memory_budget is not None and least > (budget := options.budget):
        raise MemoryBudgetError(
            f"the kernel of {L + U} examples does not fit into a memory budget of {shown(budget)}: it takes more than "
            f"{shown(math.ceil(least / MIB) * MIB)}; raise the budget or score fewer candidates"
        )
