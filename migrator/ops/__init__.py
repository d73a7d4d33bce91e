"""The operators that the migrator knows, one family a file; importing this package registers them all."""

from migrator.ops import attention, conv, elementwise, index, linear, norm, pool, reduce, shape
from migrator.ops.registry import RULES, Role, Rule

__all__ = [
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
