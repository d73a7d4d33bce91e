"""The operators that the migrator knows, one family a file; importing this package registers them all."""

from migrator.ops import attention, conv, elementwise, index, linear, norm, pool, reduce, shape
from migrator.ops.registry import RULES, Role, Rule

FAMILIES = tuple(module.__name__ for module in (attention, conv, elementwise, index, linear, norm, pool, reduce, shape))
"""Names of the modules whose functions run the operators."""

__all__ = [
    "FAMILIES",
    "RULES",
    "Role",
    "Rule",
    "attention",
    "conv",
    "elementwise",
    "index",
    "linear",
    "norm",
    "pool",
    "reduce",
    "shape",
]
