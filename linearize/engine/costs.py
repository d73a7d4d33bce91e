"""What each exact way to a unit's Gram costs, in multiplications of a large matrix product.

The weights were measured on a CPU (`benchmarks/kernel.py calibrate` prints them for a machine); the plan needs their
order of magnitude alone, and a fixed table makes the plan, and so the rounding of Θ, the same on every run.
"""

from math import prod
from typing import Literal, NamedTuple

from linearize.engine.units import Unit

Method = Literal["direct", "ghost", "vjp"]

FEATURE = 4
"""A multiplication in one of the many small products of per-example gradients, against one in a large product."""
STORE = 20
"""Writing one entry of a feature where the Gram will read it."""
MEET = 80
"""Multiplying and adding up one pair of entries of the two products of a ghost Gram."""
TAPE = 4
"""A backward and a forward pass, in forward passes, times the efficiency of a convolution."""


class Cost(NamedTuple):
    """One unit's price under one method.

    Args:
        once: multiplications for each row of Θ.
        pair: multiplications for each pair of rows.
        entries: numbers kept for each example.

    """

    once: float
    pair: float
    entries: int

    def total(self, rows: int, pairs: int) -> float:
        """Multiplications for so many rows and pairs.

        Args:
            rows: of Θ.
            pairs: of rows.

        """
        return rows * self.once + pairs * self.pair


def cost(unit: Unit, method: Method, copies: int = 1) -> Cost:
    """Price a unit.

    direct, vjp: N T K O to make the gradients, N² P for their products; ghost: N² (T²(K + O) + meetings).

    Args:
        unit: the parameters and their sites.
        method: one that ``methods`` offers.
        copies: k, outputs whose kernels are added up.

    Returns:
        The price for one row, one pair, and what is kept.

    """
    if method == "ghost":
        factors = unit.factors
        assert factors is not None
        more = (copies - 1) * prod(factors.outputs)
        pair = factors.multiplications + factors.O * more * prod(factors.outputs) + MEET * factors.meetings
        if factors.inputs == factors.outputs == (1,):
            pair = factors.K + factors.O * copies  # two products of vectors, multiplied entry by entry
        entries = factors.entries + factors.O * more
        return Cost(STORE * entries, pair, entries)
    made = sum(site.multiplications for site in unit.sites)
    return Cost(copies * (FEATURE * made + STORE * unit.size), copies * unit.size, copies * unit.size)


def methods(unit: Unit) -> tuple[Method, ...]:
    """The methods that are exact for a unit."""
    if unit.factored is None:
        return ("vjp",)
    return ("direct", "ghost") if unit.factors else ("direct",)
