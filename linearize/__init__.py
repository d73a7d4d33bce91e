"""JAX linearisation service: empirical neural tangent kernels and look-ahead scores from ``(apply_fn, variables)``."""

from linearize.criteria import CRITERIA, REFERENCES
from linearize.errors import LinearizeError, MemoryBudgetError, NonFiniteError, SingularKernelError
from linearize.heads import HEADS
from linearize.kernel import empirical_ntk, network_outputs
from linearize.service import Diagnostics, KernelOptions, LookAhead
from linearize.types import Kernel

__all__ = [
    "CRITERIA",
    "HEADS",
    "REFERENCES",
    "Diagnostics",
    "Kernel",
    "KernelOptions",
    "LinearizeError",
    "LookAhead",
    "MemoryBudgetError",
    "NonFiniteError",
    "SingularKernelError",
    "empirical_ntk",
    "network_outputs",
]
