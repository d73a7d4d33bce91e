"""``migrate``: the whole way from a torch module to a Flax function and its variables."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import flax
import jax
import numpy as np

from migrator.errors import StateDictMismatch
from migrator.graph import Binding, Graph
from migrator.module import apply_function, plan
from migrator.port import Migrated
from migrator.report import Report
from migrator.weights import get, key_map, to_torch_order, to_variables

if TYPE_CHECKING:
    from torch import Tensor, nn


def migrate(module: nn.Module, example_inputs: Tensor | tuple[Tensor, ...]) -> Migrated:
    """Port a torch module in evaluation mode to Flax.

    Args:
        module: the network; it is not changed.
        example_inputs: a tensor, or a tuple of tensors, with the batch as first axis, ``[N, C, H, W]`` for images;
            values do not matter.

    Returns:
        The port, not yet verified: ``verify`` compares it with the module, ``save`` writes it after that.

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


def refresh(port: Migrated, module: nn.Module) -> Migrated:
    """Port a module again after its tensors changed, without recording its forward pass again.

    Args:
        port: what ``migrate`` made of the same module, or of another of the same architecture.
        module: in evaluation mode, with other values in its parameters and buffers; it is not changed.

    Returns:
        The port with the module's tensors and the same ``apply_fn``, not yet verified: ``verify`` shows whether the
        forward pass still is the one that was recorded.

    Raises:
        StateDictMismatch: a tensor is missing in the module, or differs in shape, type, ties or trainability.
        MigratorError: the module is not in a state to be ported.

    """
    from migrator import preflight

    module = preflight.unwrap(module)
    preflight.check_module(module)
    tensors = preflight.named_tensors(module)
    state = {
        binding.name: _tensor(binding, tensors)
        if binding.key
        else to_torch_order(binding, get(port.variables, binding))  # a constant of the forward pass
        for binding in port.graph.bindings
    }
    report = replace(port.report, verified=False, checks=(), weights="", seconds={})
    return replace(port, variables=to_variables(port.graph, state), report=report)


def _tensor(binding: Binding, tensors: Mapping[str, Tensor]) -> np.ndarray:
    found = tensors.get(binding.key)
    expected = f"{binding.spec.dtype} {list(binding.spec.shape)}"
    came = "none" if found is None else f"{str(found.dtype).removeprefix('torch.')} {list(found.shape)}"
    if found is None or came != expected:
        raise StateDictMismatch(f"{binding.key}: the port has {expected}, the module {came}; use `migrate`")
    if any(tensors.get(alias) is not found for alias in binding.aliases):
        raise StateDictMismatch(f"{binding.key} is tied in the port, not in the module; use `migrate`")
    if found.requires_grad != (binding.collection == "params"):
        raise StateDictMismatch(f"{binding.key} is trainable in one of port and module alone; use `migrate`")
    return found.detach().cpu().numpy()


def count_parameters(graph: Graph) -> int:
    """Return the number of trainable numbers, tied ones counted once."""
    return sum(math.prod(binding.stored_shape) for binding in graph.bindings if binding.collection == "params")
