"""`migrate`: the whole way from a torch module to a Flax function and its variables."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import flax
import jax

from migrator.graph import Graph
from migrator.module import apply_function, plan
from migrator.port import Migrated
from migrator.report import Report
from migrator.weights import key_map, to_variables

if TYPE_CHECKING:
    from torch import Tensor, nn


def migrate(module: nn.Module, example_inputs: Tensor | tuple[Tensor, ...]) -> Migrated:
    """Port a torch module in evaluation mode to Flax.

    Args:
        module: the network; it is not changed.
        example_inputs: a tensor, or a tuple of tensors, with the batch as first axis, `[N, C, H, W]` for images; values
            do not matter.

    Returns:
        The port, not yet verified: `verify` compares it with the module, `save` writes it after that.

    Raises:
        MigratorError: the named error of whatever cannot be ported.

    Example:
        >>> import torch
        >>> from migrator import migrate, verify
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
        >>> port = migrate(net, (torch.zeros(2, 3, 2, 2),))
        >>> port.apply_fn(port.variables, torch.ones(5, 3, 2, 2).numpy()).shape
        (5, 3)
    """
    import torch

    from migrator.capture import capture

    start = time.perf_counter()
    captured = capture(module, example_inputs if isinstance(example_inputs, tuple) else (example_inputs,))
    plan(captured.graph)
    variables = to_variables(captured.graph, captured.state)
    report = Report(
        digest=captured.graph.digest,
        parameters=count_parameters(captured.graph),
        tensors=len(captured.graph.bindings),
        key_map=key_map(captured.graph),
        versions={"torch": torch.__version__, "jax": jax.__version__, "flax": flax.__version__},
        seconds={"migrate": time.perf_counter() - start},
    )
    return Migrated(apply_function(captured.graph), variables, captured.graph, report)


def count_parameters(graph: Graph) -> int:
    """Number of trainable numbers, tied ones counted once."""
    total = 0
    for binding in graph.bindings:
        if binding.collection == "params":
            size = 1
            for length in binding.stored_shape:
                size *= length
            total += size
    return total
