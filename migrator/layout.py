"""Which tensors are kept channels-last, decided by one pass over the graph before it runs.

XLA's CPU convolutions are faster on NHWC, torch's logical order is NCHW. Every value carries a tag, its storage order
(``Perm``); each operator's policy says in which order it wants its operands and in which order it leaves its result.
Where the two differ the interpreter transposes, so a flatten always sees torch's own order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
from jax import Array

from migrator.graph import Node, Perm, Ref, Result, TensorSpec, map_refs, refs

LOGICAL: Perm = ()


class Operand(NamedTuple):
    """A value of the graph in the storage order in which an operator wants it.

    Args:
        name: the graph's name of the value.
        perm: the storage order.

    """

    name: str
    perm: Perm


class Placed(NamedTuple):
    """An operator's arguments with orders filled in, and the order of its result.

    Args:
        args: as the node's, with an ``Operand`` for each reference.
        kwargs: likewise.
        perm: storage order of the result.

    """

    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]
    perm: Perm


@dataclass(frozen=True)
class Tags:
    """What is known about the values so far.

    Args:
        results: what each of them is, by the graph's name.
        perms: in which order they are stored; torch's own where there is none.

    """

    results: Mapping[str, Result]
    perms: Mapping[str, Perm]

    def rank(self, ref: Any) -> int | None:
        """Return the number of axes of a tensor, ``None`` for anything else."""
        result = self.results.get(ref.name) if isinstance(ref, Ref) else None
        return len(result.shape) if isinstance(result, TensorSpec) else None

    def perm(self, ref: Ref) -> Perm:
        """Return the storage order of a value."""
        return self.perms.get(ref.name, LOGICAL)


Policy: TypeAlias = Callable[[Node, Tags], Placed]


def channels_last(rank: int) -> Perm:
    """Return the storage order N, spatial axes, C; torch's own for fewer than three axes."""
    return (0, *range(2, rank), 1) if rank > 2 else LOGICAL


def to_perm(value: Array, source: Perm, target: Perm) -> Array:
    """Return a tensor in another storage order; a longer one first adds leading axes of size one.

    Args:
        value: the tensor as it is stored.
        source: its storage order.
        target: the order wanted, for at least as many axes.

    """
    if source == target:
        return value
    if source:
        value = jnp.transpose(value, inverse(source))
    if not target:
        return value
    if len(target) > value.ndim:
        value = value.reshape((1,) * (len(target) - value.ndim) + value.shape)
    return jnp.transpose(value, target)


def inverse(perm: Perm) -> Perm:
    """Return the permutation that undoes one."""
    return tuple(perm.index(axis) for axis in range(len(perm)))


def place(node: Node, order: Callable[[Ref], Perm], perm: Perm) -> Placed:
    """Return a node's arguments with orders filled in.

    Args:
        node: the operator.
        order: gives the storage order in which a reference is wanted.
        perm: storage order of the result.

    """

    def operand(ref: Ref) -> Operand:
        return Operand(ref.name, order(ref))

    kwargs = tuple((key, map_refs(value, operand)) for key, value in node.kwargs)
    return Placed(map_refs(node.args, operand), kwargs, perm)


def logical(node: Node, tags: Tags) -> Placed:
    """Place everything in torch's own order.

    Args:
        node: the operator.
        tags: what is known about the values so far.

    """
    return place(node, lambda ref: LOGICAL, LOGICAL)


def pointwise(node: Node, tags: Tags) -> Placed:
    """Place channels-last when an operand of full rank already is, else in torch's own order.

    Args:
        node: the operator.
        tags: what is known about the values so far.

    """
    ranks = {ref: tags.rank(ref) or 0 for ref in refs((node.args, node.kwargs))}
    last = channels_last(max(ranks.values(), default=0))
    if not last or not any(tags.perm(ref) == last for ref in ranks):
        return logical(node, tags)
    return place(node, lambda ref: last if ranks[ref] else LOGICAL, last)


def passing(node: Node, tags: Tags) -> Placed:
    """Place the first operand as it is stored, and the result likewise.

    Args:
        node: the operator.
        tags: what is known about the values so far.

    """
    perm = tags.perm(node.args[0])
    return place(node, lambda ref: perm if ref == node.args[0] else LOGICAL, perm)


def spatial(axes: int | None = None, kernel: Callable[[int], Perm] | None = None) -> Policy:
    """Return the policy of convolutions, pools and norms: the data channels-last, the kernel in its own order.

    Args:
        axes: number of spatial axes; an operand with only one axis more has no batch axis. ``None``: any number.
        kernel: storage order of the second operand for its rank; torch's own where there is none.

    """

    def policy(node: Node, tags: Tags) -> Placed:
        data = node.args[0]
        rank = tags.rank(data) or 0
        perm = (*range(1, rank), 0) if axes is not None and rank == axes + 1 else channels_last(rank)

        def order(ref: Ref) -> Perm:
            if ref == data:
                return perm
            if kernel is not None and ref == node.args[1]:
                return kernel(tags.rank(ref) or 0)
            return LOGICAL

        return place(node, order, perm)

    return policy


def along(position: int, keepdim: int | None = None, *, reduces: bool = False, default: Any = None) -> Policy:
    """Return the policy of operators that work along axes: it keeps channels-last and renumbers the axes.

    Args:
        position: which argument holds the axis or axes.
        keepdim: which argument says that reduced axes stay, for reductions.
        reduces: whether the axes disappear.
        default: the axes when the argument is left out; ``None`` means all.

    """

    def policy(node: Node, tags: Tags) -> Placed:
        operands = list(refs(node.args[0]))
        last = channels_last(tags.rank(operands[0]) or 0)
        given = node.args[position] if len(node.args) > position else default
        fits = all(tags.rank(ref) == len(last) for ref in operands) and any(tags.perm(ref) == last for ref in operands)
        if not last or not fits or given is None or given == ():
            return logical(node, tags)
        rank = len(last)
        axes = tuple(axis % rank for axis in (given if isinstance(given, tuple) else (given,)))
        moved = tuple(last.index(axis) for axis in axes)
        keeps = keepdim is not None and len(node.args) > keepdim and bool(node.args[keepdim])
        perm = last if keeps or not reduces else _without(last, axes)
        placed = place(node, lambda ref: last if ref in operands else LOGICAL, perm)
        args = list(placed.args) + [default] * (position + 1 - len(placed.args))
        args[position] = moved if isinstance(given, tuple) else moved[0]
        return placed._replace(args=tuple(args))

    return policy


def _without(perm: Perm, axes: tuple[int, ...]) -> Perm:
    left = [axis for axis in perm if axis not in axes]
    renumbered = tuple(sorted(left).index(axis) for axis in left)
    return LOGICAL if renumbered == tuple(range(len(left))) else renumbered
