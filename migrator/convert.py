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

from migrator.errors import StateDictMismatch, StaticBatch
from migrator.graph import BATCH, Binding, Graph, TensorSpec
from migrator.module import ApplyFn, Variables, apply_function, canonical, outputs_of, plan
from migrator.port import Migrated
from migrator.report import Report
from migrator.weights import get, key_map, to_torch_order, to_variables

if TYPE_CHECKING:
    from torch import Tensor, nn

OTHER_BATCHES = (5, 3)
"""Batches that a port is tried on, of which one is not the example's."""


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
    examples = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    captured = capture(module, examples)
    plan(captured.graph)
    variables = to_variables(captured.graph, captured.state)
    apply_fn = apply_function(captured.graph)
    _check_batch(captured.graph, apply_fn, variables, len(examples[0]))
    report = Report(
        digest=captured.graph.digest,
        parameters=count_parameters(captured.graph),
        tensors=len(captured.graph.bindings),
        key_map=key_map(captured.graph),
        versions={"torch": torch.__version__, "jax": jax.__version__, "flax": flax.__version__},
        seconds={"migrate": time.perf_counter() - start},
    )
    return Migrated(apply_fn, variables, captured.graph, report)


def _check_batch(graph: Graph, apply_fn: ApplyFn, variables: Variables, example: int) -> None:
    """Refuse a port in which something has the length of the example's batch: run it on shapes of another one.

    The size is the one that ``verify`` compiles for, and the precision too, so that nothing is traced twice.
    """
    size = next(size for size in OTHER_BATCHES if size != max(example, 2))
    inputs = [jax.ShapeDtypeStruct((size, *v.spec.example), canonical(v.spec.dtype)) for v in graph.inputs]
    try:
        with jax.default_matmul_precision("highest"):
            outputs = outputs_of(graph, jax.eval_shape(apply_fn, variables, *inputs))
    except Exception as error:  # whatever does not fit that size ends somewhere in JAX
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise StaticBatch(
            f"the port of this forward pass cannot be run on {size} examples ({type(error).__name__}: {reason}); "
            f"it was recorded on {max(example, 2)}: take what depends on that number out of the forward pass"
        ) from error
    for ref, output in zip(graph.outputs, outputs, strict=True):
        spec = graph.results[ref.name]
        expected = tuple(size if n == BATCH else n for n in spec.shape) if isinstance(spec, TensorSpec) else ()
        if all(isinstance(n, int) for n in expected) and output.shape != expected:
            raise StaticBatch(
                f"the port of this forward pass returns {list(output.shape)} for {size} examples, expected "
                f"{list(expected)}; it was recorded on {max(example, 2)}: take that number out of the forward pass"
            )


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
