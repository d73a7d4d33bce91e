"""What is refused before, during and after the recording of a torch module, each with its named error."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from migrator.errors import (
    BatchDependentNorm,
    CorruptWeights,
    GradientBarrier,
    ModelNotInEvalMode,
    NonDeterministicForward,
    UnsupportedParameter,
)
from migrator.origin import module_path, source_line

TYPES = (torch.float32, torch.float64, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool)
RANDOM = ("dropout", "bernoulli", "rand", "normal_", "normal.", "multinomial", "rrelu", "poisson", "exponential_")
SHOWN = 8


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by every qualified name that they have."""
    return dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers(remove_duplicate=False))


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more


def check_module(module: nn.Module) -> None:
    """Refuse a module whose mode, layers or weights cannot be ported.

    Raises:
        ModelNotInEvalMode: a submodule is in training mode.
        BatchDependentNorm: a batch norm has no running statistics.
        UnsupportedParameter: a tensor has a type without a counterpart.
        CorruptWeights: a tensor is not finite, or a running variance is negative.
    """
    training = [name or type(layer).__name__ for name, layer in module.named_modules() if layer.training]
    if training:
        raise ModelNotInEvalMode(
            f"in training mode: {_listed(training)}; call `module.eval()` first, for dropout and batch norm differ"
        )
    for name, layer in module.named_modules():
        if isinstance(layer, _BatchNorm) and layer.running_mean is None:
            raise BatchDependentNorm(
                f"{name or type(layer).__name__} ({type(layer).__name__}) has no running statistics, so each output "
                "depends on the other examples; build it with `track_running_stats=True`"
            )
    for name, tensor in named_tensors(module).items():
        _check_tensor(name, tensor)


def _check_tensor(name: str, tensor: Tensor) -> None:
    if is_lazy(tensor):
        raise UnsupportedParameter(f"{name} has no shape yet; run one batch through the module first")
    if tensor.is_meta or tensor.layout is not torch.strided or tensor.dtype not in TYPES:
        what = "meta" if tensor.is_meta else f"{tensor.layout}, {tensor.dtype}"
        raise UnsupportedParameter(f"{name} is {what}; convert it to a dense float32 tensor first")
    if tensor.is_floating_point():
        if not bool(torch.isfinite(tensor).all()):
            raise CorruptWeights(f"{name} holds NaN or infinite values; the training that wrote it failed")
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise CorruptWeights(f"{name} has a negative variance; the weights are damaged")


def lower_barriers(graph_module: fx.GraphModule) -> None:
    """Write every `no_grad` region's end as `detach` on what it returns, so that the barrier survives.

    Torch keeps such a region as a call of a sub-graph, and inlines it without a trace when it decomposes operators.

    Raises:
        GradientBarrier: when a region changes a tensor of its outside in place.
    """
    for node in list(graph_module.graph.nodes):
        if "wrap_with_set_grad_enabled" not in str(node.target):
            if "wrap_with_autocast" in str(node.target):
                raise GradientBarrier("the forward pass uses autocast; port the module without it")
            continue
        enabled, region = node.args[0], getattr(graph_module, node.args[1].target)
        lower_barriers(region)
        if enabled:
            continue
        _check_region(region)
        for result in list(node.users):
            with graph_module.graph.inserting_after(result):
                barrier = graph_module.graph.call_function(torch.ops.aten.detach.default, (result,))
            barrier.meta = dict(result.meta)
            result.replace_all_uses_with(barrier, delete_user_cb=lambda user, new=barrier: user is not new)
    graph_module.recompile()


def _check_region(region: fx.GraphModule) -> None:
    for node in region.graph.nodes:
        target = node.target
        if isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable:
            raise GradientBarrier(
                f"{target} changes a tensor in place inside `no_grad`; write it out of place, or outside the block"
            )


def check_graph(program: ExportedProgram) -> None:
    """Refuse operators that draw random numbers or normalise over the batch.

    Raises:
        NonDeterministicForward: listing the random operators.
        BatchDependentNorm: listing the norms.
    """
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    overloads = [(node, node.target) for node in calls if isinstance(node.target, torch._ops.OpOverload)]
    random = [f"{target} in {_where(node)}" for node, target in overloads if _draws(node, target)]
    if random:
        raise NonDeterministicForward(
            f"the forward pass draws random numbers in evaluation mode: {_listed(random)}; "
            "pass `training=self.training` to functional dropout"
        )
    norms = [_where(node) for node, target in overloads if "batch_norm_legit" in str(target) and _uses_batch(node)]
    if norms:
        raise BatchDependentNorm(
            f"batch norm over the batch's own statistics in {_listed(norms)}; use running statistics"
        )


def _draws(node: fx.Node, target: torch._ops.OpOverload) -> bool:
    if "scaled_dot_product_attention" in str(target):
        return len(node.args) > 4 and bool(node.args[4])  # its dropout
    return torch.Tag.nondeterministic_seeded in target.tags or any(word in str(target) for word in RANDOM)


def _uses_batch(node: fx.Node) -> bool:
    if "no_training" in str(node.target):
        return False
    if "no_stats" in str(node.target):
        return bool(node.args[3])
    return bool(node.args[5])


def _where(node: fx.Node) -> str:
    return " at ".join(part for part in (module_path(node) or "the forward pass", source_line(node)) if part)


def describe_unsupported(entries: list[tuple[str, str, str]]) -> str:
    """One message for all operators without a rule: operator, module path, source line, and what to do."""
    lines = dict.fromkeys(
        f"{op} in {path or 'the forward pass'}{f' at {source}' if source else ''}" for op, path, source in entries
    )
    count = len({op for op, _, _ in entries})
    return (
        f"{count} operator{'s have' if count > 1 else ' has'} no rule: {'; '.join(lines)}; "
        "write the layer with supported operators, or add a rule for each under migrator/ops"
    )
