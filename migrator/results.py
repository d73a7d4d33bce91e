"""Whether the values of a graph are what it says of them: files may say anything, and generated source relies on it."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from migrator.errors import CorruptPort
from migrator.graph import BATCH, Graph, Result, TensorSpec
from migrator.layout import Operand, inverse
from migrator.module import Variables, canonical, plan, trace
from migrator.weights import get

EXAMPLES = 2
COUNTED: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


def check_results(graph: Graph, variables: Variables) -> None:
    """Run a graph on shapes alone, and compare the shape of each value with the one that is recorded.

    Args:
        graph: the network, perhaps from a file.
        variables: its tensors.

    Raises:
        CorruptPort: naming the first value that is another than recorded.

    """
    steps = plan(graph)
    wanted = tuple(Operand(step.node.name, step.placed.perm) for step in steps)

    def run(tensors: Variables, *inputs: Any) -> None:
        found = trace(graph, lambda binding: jnp.asarray(get(tensors, binding)), inputs, wanted)
        for step, value in zip(steps, found, strict=True):
            node, shape = step.node, getattr(value, "shape", None)
            if shape is not None and step.placed.perm:
                shape = tuple(shape[axis] for axis in inverse(step.placed.perm))
            if not _fits(node.result, value, shape):
                came = "a number" if shape is None else f"shape {list(shape)}"
                raise CorruptPort(f"{node.name} ({node.op}) gives {came}, recorded is {_words(node.result)}")

    examples = [jax.ShapeDtypeStruct((EXAMPLES, *v.spec.example), canonical(v.spec.dtype)) for v in graph.inputs]
    jax.eval_shape(run, variables, *examples)


def _words(result: Result) -> str:
    return str(result) if isinstance(result, TensorSpec) else "a number" if result is None else "several values"


def _fits(result: Result, value: Any, shape: tuple[int, ...] | None) -> bool:
    if isinstance(result, TensorSpec):
        sizes = [size_for(size, EXAMPLES) for size in result.shape]
        return shape is not None and len(shape) == len(sizes) and all(map(_equal, sizes, shape))
    several = isinstance(value, tuple | list)
    return shape is None and several == isinstance(result, tuple)


def _equal(recorded: int | None, found: int) -> bool:
    return recorded is None or recorded == found


def size_for(size: int | str, batch: int) -> int | None:
    """Return a recorded size for a batch, ``None`` where it is written with more than sums, products and quotients.

    Args:
        size: a number, or an expression of ``N`` such as ``2*N + 1``.
        batch: the number of examples.

    Raises:
        CorruptPort: it divides by zero.

    """

    def value(node: ast.expr) -> int:
        if isinstance(node, ast.BinOp) and type(node.op) in COUNTED:
            return COUNTED[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value
        if isinstance(node, ast.Name) and node.id == BATCH:
            return batch
        raise ValueError(ast.unparse(node))

    try:
        return size if isinstance(size, int) else value(ast.parse(size, mode="eval").body)
    except ZeroDivisionError as error:
        raise CorruptPort(f"graph.json: {size!r} is not a size") from error
    except (ValueError, SyntaxError, RecursionError):
        return None
