"""What is refused before and after the recording of a torch module, each with its named error."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from migrator.errors import (
    BatchDependentNorm,
    CorruptWeights,
    DataDependentControlFlow,
    MigratorError,
    ModelNotInEvalMode,
    NonDeterministicForward,
    PrecisionLoss,
    UnsupportedGradient,
    UnsupportedOp,
    UnsupportedParameter,
)
from migrator.origin import module_path, source_line

TYPES = (torch.float32, torch.float64, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool)
RANDOM = ("dropout", "bernoulli", "rand", "normal_", "normal.", "multinomial", "rrelu", "poisson", "exponential_")
DEVICES = ("cpu", "cuda", "mps", "xpu")
STATISTICS = ("running_mean", "running_var")
SHOWN = 8


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers by every qualified name that they have."""
    return dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers(remove_duplicate=False))


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more


WRAPPERS = ("DataParallel", "DistributedDataParallel", "AveragedModel")
"""Classes of torch that hold the module proper in ``.module``."""


def unwrap(module: Any) -> nn.Module:
    """Return the module proper, out of what ``torch.compile``, data parallelism or weight averaging put around it.

    Args:
        module: what the caller passed as one.

    Raises:
        MigratorError: it is no ``torch.nn.Module`` at all.

    """
    if not isinstance(module, nn.Module):
        what = module.__name__ if isinstance(module, type) else type(module).__name__
        raise MigratorError(
            f"expected a torch.nn.Module, got {what}; make an instance, or wrap the function in a module"
        )
    inner = getattr(module, "_orig_mod", None)
    if type(module).__name__ in WRAPPERS:
        inner = module.module
    return unwrap(inner) if isinstance(inner, nn.Module) else module


def check_module(module: nn.Module) -> None:
    """Refuse a module whose mode, layers or weights cannot be ported.

    Args:
        module: the network to be ported.

    Raises:
        ModelNotInEvalMode: a submodule is in training mode.
        BatchDependentNorm: a batch norm has no running statistics.
        UnsupportedGradient: a hook changes gradients, or the call is made under ``inference_mode``.
        PrecisionLoss: the call is made under ``torch.autocast``.
        UnsupportedOp: a layer is TorchScript or quantised.
        UnsupportedParameter: a tensor has a type without a counterpart.
        CorruptWeights: a tensor is not finite, or a running variance is negative.

    """
    if torch.is_inference_mode_enabled():
        raise UnsupportedGradient("there are no gradients under `torch.inference_mode()`; leave it before porting")
    device = next((kind for kind in DEVICES if torch.is_autocast_enabled(kind)), None)
    if device is not None:
        raise PrecisionLoss(
            f"`torch.autocast` is on for {device}, under which torch rounds to fewer digits than the model has; "
            "leave it before porting"
        )
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
        _check_layer(name or type(layer).__name__, layer)
    for name, tensor in named_tensors(module).items():
        _check_tensor(name, tensor)


def _check_layer(name: str, layer: nn.Module) -> None:
    if isinstance(layer, torch.jit.ScriptModule):
        raise UnsupportedOp(f"{name} is TorchScript, which is not recorded; port the module it was made from")
    if "quantized" in type(layer).__module__:
        raise UnsupportedOp(f"{name} ({type(layer).__name__}) is quantised; port the floating-point module")
    if layer._backward_hooks or layer._backward_pre_hooks:
        raise UnsupportedGradient(f"{name} has a backward hook, which changes gradients unseen; remove the hook")


def _check_tensor(name: str, tensor: Tensor) -> None:
    if is_lazy(tensor):
        raise UnsupportedParameter(f"{name} has no shape yet; run one batch through the module first")
    if tensor.is_inference():
        raise UnsupportedParameter(f"{name} was made under `torch.inference_mode()`; make the module outside of it")
    if tensor._backward_hooks:
        raise UnsupportedGradient(f"{name} has a gradient hook, which changes gradients unseen; remove the hook")
    buffer = not isinstance(tensor, nn.Parameter)
    known = tensor.dtype in TYPES or (buffer and tensor.dtype == torch.complex64)
    if tensor.is_meta or tensor.layout is not torch.strided or not known:
        what = "meta" if tensor.is_meta else f"{tensor.layout}, {tensor.dtype}"
        raise UnsupportedParameter(f"{name} is {what}; convert it to a dense float32 tensor first")
    if tensor.is_floating_point():
        mask = buffer and not name.endswith(STATISTICS)  # may well hold -inf
        if bool(torch.isnan(tensor).any()) or not (mask or bool(torch.isfinite(tensor).all())):
            raise CorruptWeights(f"{name} holds NaN or infinite values; the training that wrote it failed")
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise CorruptWeights(f"{name} has a negative variance; the weights are damaged")


def check_graph(program: ExportedProgram) -> None:
    """Refuse operators that draw random numbers, index by a mask, or mix the examples of a batch.

    Args:
        program: what ``torch.export`` made of it.

    Raises:
        NonDeterministicForward: listing the random operators.
        DataDependentControlFlow: listing where a mask is an index.
        UnsupportedOp: listing where torch's own result makes no sense.
        BatchDependentNorm: listing norms over the batch, and embeddings whose gradient depends on it.

    """
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    overloads = [(node, node.target) for node in calls if isinstance(node.target, torch._ops.OpOverload)]
    random = [f"{target} in {_where(node)}" for node, target in overloads if _draws(node, target)]
    if random:
        dropout = any("dropout" in entry for entry in random)
        advice = "pass `training=self.training` to functional dropout" if dropout else "make them an input"
        raise NonDeterministicForward(
            f"the forward pass draws random numbers in evaluation mode: {_listed(random)}; {advice}"
        )
    masks = [
        _where(node)
        for node, target in overloads
        if "aten.masked_select" in str(target) or ("aten.index.Tensor" in str(target) and _picks_by_mask(node))
    ]
    if masks:
        raise DataDependentControlFlow(
            f"indexing by a mask, whose result has no fixed shape, in {_listed(masks)}; "
            "use the positions (`mask.nonzero()`, taken once outside) or `torch.where`"
        )
    smoothed = [_where(node) for node, target in overloads if "2d_aa" in str(target) and node.args[2] is True]
    if smoothed:
        raise UnsupportedOp(
            f"resizing with `antialias` and `align_corners` in {_listed(smoothed)}: torch's own result is the same in "
            "every row; use one of the two"
        )
    given = _of_the_inputs(program)
    norms = [
        _where(node)
        for node, target in overloads
        if "batch_norm_legit" in str(target) and _uses_batch(node) and node.args[0] in given and _mixes(node)
    ]
    tables = [_where(node) for node, target in overloads if "aten.embedding." in str(target) and True in node.args[3:4]]
    if tables:
        raise BatchDependentNorm(f"`scale_grad_by_freq` mixes a batch's gradients in {_listed(tables)}; turn it off")
    if norms:
        raise BatchDependentNorm(
            f"batch norm over the batch's own statistics in {_listed(norms)}; use running statistics"
        )


def _draws(node: fx.Node, target: torch._ops.OpOverload) -> bool:
    if "scaled_dot_product_attention" in str(target):
        return len(node.args) > 4 and bool(node.args[4])  # its dropout
    if "aten.rrelu" in str(target):
        return bool(dict(enumerate(node.args)).get(3, node.kwargs.get("training", False)))
    return torch.Tag.nondeterministic_seeded in target.tags or any(word in str(target) for word in RANDOM)


def _picks_by_mask(node: fx.Node) -> bool:
    places = [place.meta.get("val") for place in node.args[1] if isinstance(place, fx.Node)]  # type: ignore[union-attr]
    return any(isinstance(place, Tensor) and place.dtype in (torch.bool, torch.uint8) for place in places)


def _uses_batch(node: fx.Node) -> bool:
    if "no_training" in str(node.target):
        return False
    if "no_stats" in str(node.target):
        return bool(node.args[3])
    return bool(node.args[5])


def _of_the_inputs(program: ExportedProgram) -> set[fx.Node]:
    """The values that depend on what the network is given, not on its tensors alone."""
    inputs = set(program.graph_signature.user_inputs)
    found: set[fx.Node] = set()
    for node in program.graph.nodes:
        if node.name in inputs or any(source in found for source in node.all_input_nodes):
            found.add(node)
    return found


def _mixes(node: fx.Node) -> bool:
    """Whether a norm's statistics are over examples: not where each channel is of one example alone."""
    value = node.args[0].meta["val"]  # type: ignore[union-attr]
    return any(not isinstance(size, int) for axis, size in enumerate(value.shape) if axis != 1)


def _where(node: fx.Node) -> str:
    return " at ".join(part for part in (module_path(node) or "the forward pass", source_line(node)) if part)


def describe_unsupported(entries: list[tuple[str, str, str]]) -> str:
    """Return one message for all operators without a rule.

    Args:
        entries: operator, module path and source line of each.

    """
    lines = dict.fromkeys(
        f"{op} in {path or 'the forward pass'}{f' at {source}' if source else ''}" for op, path, source in entries
    )
    count = len({op for op, _, _ in entries})
    return (
        f"{count} operator{'s have' if count > 1 else ' has'} no rule: {'; '.join(lines)}; "
        "write the layer with supported operators, or add a rule for each under migrator/ops"
    )
