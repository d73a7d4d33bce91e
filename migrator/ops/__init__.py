"""The operators that the migrator knows, one family a file; importing this package registers them all."""

from migrator.ops import (
    activations,
    attention,
    conv,
    elementwise,
    fft,
    index,
    linalg,
    linear,
    norm,
    pool,
    reduce,
    resample,
    scatter,
    shape,
    sort,
)
from migrator.ops.registry import RULES, Role

_FAMILIES = (
    activations,
    attention,
    conv,
    elementwise,
    fft,
    index,
    linalg,
    linear,
    norm,
    pool,
    reduce,
    resample,
    scatter,
    shape,
    sort,
)

FAMILIES = tuple(module.__name__ for module in _FAMILIES)
"""Names of the modules whose functions run the operators."""

__all__ = ["FAMILIES", "RULES", "Role"]
