"""The table of operators: one ``Rule`` for each, found by torch's own name of the operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from migrator.graph import Perm
from migrator.layout import LOGICAL, Policy, logical

Implementation: TypeAlias = Callable[..., Any]


@dataclass(frozen=True)
class Role:
    """What a stored tensor is to an operator.

    Args:
        leaf: its name in Flax.
        perm: the order in which Flax keeps it, for its number of axes.
        statistic: whether it is a running statistic.

    """

    leaf: str
    perm: Callable[[int], Perm] = lambda rank: LOGICAL
    statistic: bool = False


@dataclass(frozen=True)
class Rule:
    """How one torch operator runs in JAX.

    Args:
        apply: the JAX function; its arguments are the operator's own.
        policy: in which storage order it wants its operands.
        roles: position of an argument -> what a tensor stored there is called.

    """

    apply: Implementation
    policy: Policy
    roles: Mapping[int, Role] = field(default_factory=dict)


RULES: dict[str, Rule] = {}


def rule(
    *ops: str, policy: Policy = logical, roles: Mapping[int, Role] | None = None
) -> Callable[[Implementation], Implementation]:
    """Return a decorator that registers a function as the rule of one or more operators.

    Args:
        *ops: torch's names, for example ``aten.conv2d.default``.
        policy: in which storage order the operators want their operands.
        roles: position of an argument -> what a tensor stored there is called.

    """

    def register(apply: Implementation) -> Implementation:
        for op in ops:
            if op in RULES:
                raise RuntimeError(f"{op} already has a rule")
            RULES[op] = Rule(apply, policy, roles or {})
        return apply

    return register


def conv_kernel(rank: int) -> Perm:
    """Torch's O, I, spatial axes stored as Flax's spatial axes, I, O."""
    return (*range(2, rank), 1, 0)


def transposed_kernel(rank: int) -> Perm:
    """A transposed convolution's I, O, spatial axes stored as spatial axes, I, O."""
    return (*range(2, rank), 0, 1)


def linear_kernel(rank: int) -> Perm:
    """Torch's O, I stored as Flax's I, O; a bilinear or one-dimensional weight stays."""
    return (1, 0) if rank == 2 else LOGICAL


CONV_KERNEL = Role("kernel", conv_kernel)
TRANSPOSED_KERNEL = Role("kernel", transposed_kernel)
LINEAR_KERNEL = Role("kernel", linear_kernel)
BIAS = Role("bias")
SCALE = Role("scale")
MEAN = Role("mean", statistic=True)
VAR = Role("var", statistic=True)
EMBEDDING = Role("embedding")
