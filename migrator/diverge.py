"""After a failed comparison: the first operator whose value differs from torch's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from migrator.compare import cast, double, relative
from migrator.graph import TensorSpec
from migrator.layout import LOGICAL, Operand
from migrator.module import trace
from migrator.port import Migrated
from migrator.weights import get

if TYPE_CHECKING:
    from torch import nn


def first_diverging(module: nn.Module, migrated: Migrated, inputs: tuple[np.ndarray, ...], tolerance: float) -> str:
    """Run both sides operator by operator in float64, and say where they part.

    Args:
        module: the torch side.
        migrated: the port.
        inputs: a batch, one array for each input.
        tolerance: largest relative difference that counts as equal.

    Returns:
        A sentence for an error message, empty when all operators agree.

    """
    from migrator.capture import interpret

    graph, expected = interpret(module, inputs)
    if graph.digest != migrated.graph.digest:
        return "; the module is not the one that was ported: its graph differs"
    nodes = [node for node in graph.nodes if isinstance(node.result, TensorSpec)]
    with jax.enable_x64(True):
        variables = cast(migrated.variables, np.float64)
        x = tuple(jnp.asarray(value) for value in double(inputs))
        wanted = tuple(Operand(node.name, LOGICAL) for node in nodes)
        found = trace(graph, lambda binding: jnp.asarray(get(variables, binding)), x, wanted)
    for node, value in zip(nodes, found, strict=True):
        if not relative(value, expected[node.name]) <= tolerance:
            where = node.module or "the forward pass"
            return (
                f"; first different at {node.name} ({node.op}) in {where}{f' at {node.source}' if node.source else ''}"
            )
    return ""
