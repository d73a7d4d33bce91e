"""Torch's own recording of a module, and our named error for each of its refusals."""

from __future__ import annotations

import inspect
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.exc import UserError
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec

from migrator import gradient_guards, preflight
from migrator.decompositions import decomposed
from migrator.errors import DataDependentControlFlow, MigratorError, StaticBatch, UnsupportedGradient, UnsupportedOp
from migrator.masks import counts_of, placed
from migrator.ops import RULES

RESIZES = [
    getattr(torch.ops.aten, f"upsample_{kind}").vec
    for kind in ("nearest1d", "nearest2d", "nearest3d", "linear1d", "bilinear2d", "bicubic2d")
]
"""Resizing is broken down into indexing and arithmetic by torch itself, but not unless asked."""

NUMBERS = "use `x.shape[0]` or -1 where it writes a number or `len(x)`"


def exported(module: nn.Module, example_inputs: tuple[Tensor, ...]) -> ExportedProgram:
    """Return the exported program, functional and in operators that have rules as far as torch can break others down.

    Args:
        module: in evaluation mode.
        example_inputs: tensors with the batch as first axis; only shapes and types matter.

    Raises:
        MigratorError: the named error of whatever cannot be recorded.

    """
    preflight.check_module(module)
    inputs = _widen(example_inputs)
    with _quiet(), torch.enable_grad():
        counts = counts_of(module, inputs)  # whatever fails here is not the exporter's fault
    with placed(counts or []):
        program = _export(module, inputs)
    gradient_guards.lower_no_grad_regions(program.graph_module)
    with _quiet():
        program = program.run_decompositions(_missing_only())
    preflight.check_graph(program)
    return program


def _widen(example_inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """At least two examples: with one, export would take the batch for a constant."""
    if not example_inputs or not all(
        isinstance(value, Tensor) and value.ndim and len(value) for value in example_inputs
    ):
        kinds = ", ".join(f"{type(value).__name__} {list(getattr(value, 'shape', ()))}" for value in example_inputs)
        raise StaticBatch(
            "example_inputs: expected torch tensors whose first axis is the batch, and is not empty; "
            f"got {kinds or 'nothing'}"
        )
    if len({len(value) for value in example_inputs}) > 1:
        sizes = [len(value) for value in example_inputs]
        raise StaticBatch(f"example_inputs: expected as many examples of each input, got {sizes}")
    return tuple(value if len(value) > 1 else torch.cat([value, value]) for value in example_inputs)


@contextmanager
def _quiet() -> Iterator[None]:
    """Torch's exporter warns of its own deprecated names, and logs what it also raises."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):  # it also prints the graph that it gave up on
            for category in (FutureWarning, DeprecationWarning, UserWarning):
                warnings.simplefilter("ignore", category)
            yield
    finally:
        logging.disable(level)


def _export(module: nn.Module, inputs: tuple[Tensor, ...]) -> ExportedProgram:
    try:
        with _quiet(), torch.enable_grad(), gradient_guards.guard_gradients(), decomposed():
            try:
                return _record(module, inputs, Dim("batch", min=1))
            except UserError as error:  # some operators choose their algorithm by the size of the batch
                if "Constraints violated" not in str(error) or "specialized" in str(error):
                    raise
                program = _record(module, inputs, Dim.AUTO)
            batched = next(node.meta["val"] for node in program.graph.nodes if node.name == user_inputs(program)[0])
            if isinstance(batched.shape[0], int):
                raise StaticBatch(f"the forward pass only works for a batch of {batched.shape[0]}; {NUMBERS}")
            return program
    except MigratorError:
        raise
    except Exception as error:
        raise _named(error) from error


def _record(module: nn.Module, inputs: tuple[Tensor, ...], batch: Any) -> ExportedProgram:
    """Torch's export, whatever the names and the number of the forward pass's arguments."""
    sizes = tuple({0: batch} for _ in inputs)
    kinds = [parameter.kind for parameter in inspect.signature(module.forward).parameters.values()]
    named = kinds.index(inspect.Parameter.VAR_POSITIONAL) if inspect.Parameter.VAR_POSITIONAL in kinds else len(inputs)
    shapes = sizes if named >= len(inputs) else (*sizes[:named], sizes[named:])
    return torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)


def _named(error: Exception) -> MigratorError:
    """Our named error for one of the exporter's."""
    text, kind = str(error), type(error).__name__
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = lines[0] if lines else kind
    if "Constraints violated" in text or kind == "ConstraintViolationError" or "specialized" in text:
        reasons = " ".join(line.removeprefix("- ").split(". ")[0] for line in lines[1:3] if line.startswith("- "))
        which = "one batch size" if "specialized" in text else "some batch sizes"
        return StaticBatch(f"the forward pass only works for {which} ({reasons or first}); {NUMBERS}")
    if "DataDependent" in kind or "data-dependent" in text or "Dynamic control flow" in text:
        condition = first.split(" (unhinted")[0]
        return DataDependentControlFlow(
            f"the forward pass depends on tensor values ({condition}); "
            "replace `if`/`.item()` on tensors by `torch.where`"
        )
    if "_FunctionBase" in text:
        return UnsupportedGradient(
            "the forward pass uses a `torch.autograd.Function`, which is not recorded, perhaps that of reentrant "
            "checkpointing; give `checkpoint` use_reentrant=False"
        )
    if "fake tensor in the exported program constant" in text:
        return UnsupportedGradient(
            "the forward pass uses `.data`, or a transform such as `torch.func.grad`; use `.detach()` for the former, "
            "which says the same and can be recorded"
        )
    return UnsupportedOp(
        f"torch.export cannot record this module ({kind}: {first}); "
        "keep the forward pass to operators on tensors, without NumPy, other libraries or changes of attributes"
    )


def _missing_only() -> dict[Any, Any]:
    """Torch's decompositions of the operators that have no rule of ours."""
    table = {**torch.export.default_decompositions(), **torch._decomp.get_decompositions(RESIZES)}
    return {op: rule for op, rule in table.items() if str(op) not in RULES}


def input_specs(program: ExportedProgram, *kinds: InputKind) -> list[InputSpec]:
    """Return what the program's placeholders of some kinds stand for.

    Args:
        program: as exported.
        *kinds: which placeholders.

    """
    return [spec for spec in program.graph_signature.input_specs if spec.kind in kinds]


def user_inputs(program: ExportedProgram) -> list[str]:
    """Return the exporter's names of the module's own inputs."""
    return [str(spec.arg.name) for spec in input_specs(program, InputKind.USER_INPUT)]
