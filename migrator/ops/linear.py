"""Products of matrices."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array

from migrator.graph import Node
from migrator.layout import LOGICAL, Placed, Tags, place
from migrator.ops.reduce import vector_norm
from migrator.ops.registry import BIAS, LINEAR_KERNEL, linear_kernel, rule


def _dense(node: Node, tags: Tags) -> Placed:
    weight = node.args[1]
    return place(node, lambda ref: linear_kernel(tags.rank(ref) or 0) if ref == weight else LOGICAL, LOGICAL)


@rule("aten.linear.default", policy=_dense, roles={1: LINEAR_KERNEL, 2: BIAS})
def linear(x: Array, kernel: Array, bias: Array | None = None) -> Array:
    """x @ kernel + bias with the kernel as [in, out]."""
    product = jnp.matmul(x, kernel)
    return product if bias is None else product + bias


@rule("aten.mm.default", "aten.bmm.default", "aten.matmul.default", "aten.mv.default", "aten.dot.default")
def matmul(x: Array, y: Array) -> Array:
    """x @ y."""
    return jnp.matmul(x, y)


@rule("aten.addmm.default", "aten.baddbmm.default", "aten.addmv.default")
def addmm(bias: Array, x: Array, y: Array, beta: Any = 1, alpha: Any = 1) -> Array:
    """beta bias + alpha x @ y."""
    product = jnp.matmul(x, y)
    return (bias if beta == 1 else beta * bias) + (product if alpha == 1 else alpha * product)


@rule("aten.addbmm.default")
def addbmm(bias: Array, x: Array, y: Array, beta: Any = 1, alpha: Any = 1) -> Array:
    """beta bias + alpha times the sum of all x @ y."""
    return beta * bias + alpha * jnp.einsum("bij,bjk->ik", x, y)


@rule("aten._trilinear.default")
def trilinear(
    x: Array,
    weight: Array,
    y: Array,
    expand_x: tuple[int, ...],
    expand_weight: tuple[int, ...],
    expand_y: tuple[int, ...],
    summed: tuple[int, ...],
    unroll: int = 1,
) -> Array:
    """The product of three arrays, each without the axes that it names, summed over axes."""
    rank = x.ndim + len(expand_x)
    named = [[axis for axis in range(rank) if axis not in gone] for gone in (expand_x, expand_weight, expand_y)]
    return jnp.einsum(x, named[0], weight, named[1], y, named[2], [axis for axis in range(rank) if axis not in summed])


@rule("aten._cdist_forward.default")
def cdist(x: Array, y: Array, order: float, mode: Any = None) -> Array:
    """p-norms of the differences of all pairs of rows; the derivative of equal rows is zero."""
    return vector_norm(x[..., :, None, :] - y[..., None, :, :], order, -1)


@rule("aten.einsum.default")
def einsum(equation: str, operands: tuple[Array, ...], path: Any = None) -> Array:
    """Einstein summation."""
    return jnp.einsum(equation.replace(" ", ""), *operands)
