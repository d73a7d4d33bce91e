"""JAX linearisation service: empirical neural tangent kernels and look-ahead scores from ``(apply_fn, variables)``."""

from linearize.build import Sample
from linearize.choice import MODES, Choice, Mode
from linearize.criteria import CRITERIA, DISTANCES, REFERENCES, Criterion, Distance, Measure, Reference
from linearize.diagnostics import Diagnostics, ScoreDiagnostics
from linearize.dynamics import Dynamics
from linearize.errors import LinearizeError, MemoryBudgetError, NonFiniteError, SingularKernelError
from linearize.gradients import Examples, Gradients, LossGradients
from linearize.heads import HEADS
from linearize.kernel import empirical_ntk, network_outputs, plan_ntk
from linearize.options import KernelOptions
from linearize.posterior import Posterior
from linearize.products import (
    jacobian_vector_product,
    ntk_blocks,
    ntk_diagonal,
    ntk_vector_product,
    vector_jacobian_product,
)
from linearize.service import LookAhead
from linearize.types import Kernel

__all__ = [
    "CRITERIA",
    "DISTANCES",
    "HEADS",
    "MODES",
    "REFERENCES",
    "Choice",
    "Criterion",
    "Diagnostics",
    "Distance",
    "Dynamics",
    "Examples",
    "Gradients",
    "Kernel",
    "KernelOptions",
    "LinearizeError",
    "LookAhead",
    "LossGradients",
    "Measure",
    "MemoryBudgetError",
    "Mode",
    "NonFiniteError",
    "Posterior",
    "Reference",
    "Sample",
    "ScoreDiagnostics",
    "SingularKernelError",
    "empirical_ntk",
    "jacobian_vector_product",
    "network_outputs",
    "ntk_blocks",
    "ntk_diagonal",
    "ntk_vector_product",
    "plan_ntk",
    "vector_jacobian_product",
]
