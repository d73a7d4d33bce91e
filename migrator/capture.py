"""From a torch module to the torch-free graph, by ``torch.export``."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind
from torch.utils._pytree import tree_unflatten

from migrator import preflight
from migrator.errors import DataDependentControlFlow, UnsupportedOp, UnsupportedOutput
from migrator.export import exported, input_specs, user_inputs
from migrator.graph import BATCH, Binding, Dtype, Graph, Input, Node, Ref, Result, TensorSpec
from migrator.ops import RULES
from migrator.origin import module_kinds, module_path, source_line
from migrator.weights import choose_leaf, choose_perm, collection, roles

IGNORED_KWARGS = frozenset({"device", "layout", "pin_memory", "memory_format", "non_blocking"})


@dataclass(frozen=True)
class Captured:
    """A graph and torch's tensors.

    Args:
        graph: what the module computes.
        state: the graph's name of a tensor -> its values, in torch's own order of axes.

    """

    graph: Graph
    state: dict[str, np.ndarray]


def capture(module: nn.Module, example_inputs: tuple[Tensor, ...]) -> Captured:
    """Record what a module computes.

    Args:
        module: in evaluation mode.
        example_inputs: with a first axis of at least 2 examples; only shapes and types matter.

    Returns:
        The graph and the tensors that it uses.

    Raises:
        MigratorError: the named error of whatever the module does that cannot be ported.

    """
    module = preflight.unwrap(module)
    program = exported(module, example_inputs)
    names = _canonical_names(program)
    calls = _calls(program)
    nodes = tuple(_node(node, names) for node in calls)
    bindings, state = _bindings(module, program, names, nodes)
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    inputs = user_inputs(program)
    outputs, structure = _outputs(program, names)
    graph = Graph(
        inputs=tuple(Input(names[name], _tensor_spec(placeholders[name].meta["val"])) for name in inputs),
        bindings=bindings,
        nodes=nodes,
        outputs=outputs,
        structure=structure,
        modules=module_kinds(calls),
    )
    return Captured(graph, state)


def interpret(module: nn.Module, inputs: tuple[np.ndarray, ...]) -> tuple[Graph, dict[str, np.ndarray]]:
    """Return torch's own value of every operator of the graph, in float64.

    Args:
        module: in evaluation mode; it is not changed.
        inputs: a batch, one array for each input.

    Returns:
        The module's graph, and value by the graph's name.

    """
    module = preflight.unwrap(module)
    examples = tuple(torch.from_numpy(np.array(value)) for value in inputs)
    graph = capture(module, examples).graph
    double = copy.deepcopy(module).cpu().double()
    examples = tuple(value.double() if value.is_floating_point() else value for value in examples)
    program = exported(double, examples)
    names, values = _canonical_names(program), {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if isinstance(value, Tensor) and n.name in names:
                values[names[n.name]] = value.detach().numpy()
            return value

    tensors, given = preflight.named_tensors(double), iter(examples)
    arguments = [
        next(given)
        if spec.kind is InputKind.USER_INPUT
        else program.constants[str(spec.target)]
        if spec.kind is InputKind.CONSTANT_TENSOR
        else tensors[str(spec.target)]
        for spec in program.graph_signature.input_specs
    ]
    with torch.no_grad():
        Recorder(program.graph_module).run(*arguments)
    return graph, values


def _canonical_names(program: ExportedProgram) -> dict[str, str]:
    """Names that do not depend on the exporter's counters: ``conv2d_3`` is the third convolution."""
    counts: dict[str, int] = {}
    names = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            names[node.name] = node.name
        elif node.op == "call_function":
            base = _op_name(node).split(".")[1]
            counts[base] = counts.get(base, 0) + 1
            names[node.name] = f"{base}#{counts[base]}"
    return names


def _calls(program: ExportedProgram) -> list[fx.Node]:
    live = _live(program)
    calls = [node for node in program.graph.nodes if node.op == "call_function" and node in live]
    unknown = [node for node in calls if _op_name(node) not in RULES]
    numbers = [node for node in unknown if "_local_scalar_dense" in _op_name(node)]
    if numbers:
        where = ", ".join(dict.fromkeys(f"{module_path(n) or 'the forward pass'} at {source_line(n)}" for n in numbers))
        raise DataDependentControlFlow(f"`.item()`, or a Python number made of a tensor, in {where}; keep it a tensor")
    if unknown:
        raise UnsupportedOp(
            preflight.describe_unsupported([(_op_name(n), module_path(n), source_line(n)) for n in unknown])
        )
    return calls


def _live(program: ExportedProgram) -> set[fx.Node]:
    """The operators that an output depends on; assertions and unused results fall away."""
    (output,) = (node for node in program.graph.nodes if node.op == "output")
    live: set[fx.Node] = set()
    waiting = list(output.all_input_nodes)
    while waiting:
        node = waiting.pop()
        if node not in live:
            live.add(node)
            waiting += node.all_input_nodes
    return live


def _op_name(node: fx.Node) -> str:
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return str(target)
    name = getattr(target, "__name__", str(target))
    home = getattr(target, "__module__", "") or ""
    return f"{'operator' if home in ('_operator', 'operator') else home.split('.')[0] or 'python'}.{name}"


def _node(node: fx.Node, names: Mapping[str, str]) -> Node:
    kwargs = tuple((key, _argument(value, names)) for key, value in node.kwargs.items() if key not in IGNORED_KWARGS)
    return Node(
        name=names[node.name],
        op=_op_name(node),
        args=_argument(node.args, names),
        kwargs=kwargs,
        result=_result(node.meta.get("val")),
        module=module_path(node),
        source=source_line(node),
    )


def _argument(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, fx.Node):
        return Ref(names[value.name])
    if isinstance(value, list | tuple):
        return tuple(_argument(item, names) for item in value)
    if isinstance(value, torch.dtype):
        return Dtype(str(value).removeprefix("torch."))
    if isinstance(value, torch.device | torch.layout | torch.memory_format):
        return None
    if value is None or isinstance(value, bool | int | float | complex | str):
        return value
    raise UnsupportedOp(f"an operator has an argument of type {type(value).__name__}, which cannot be recorded")


def _result(value: Any) -> Result:
    if isinstance(value, Tensor):
        return _tensor_spec(value)
    return tuple(_result(item) for item in value) if isinstance(value, list | tuple) else None


def _tensor_spec(value: Tensor) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else _symbolic(size) for size in value.shape)
    return TensorSpec(shape, str(value.dtype).removeprefix("torch."))


def _symbolic(size: Any) -> str:
    """A size in terms of the batch: the exporter's symbols all stand for it."""
    expression = size.node.expr
    symbols = sorted(expression.free_symbols, key=str)
    text = str(expression)
    for symbol in symbols:
        text = text.replace(str(symbol), BATCH)
    return text


def _bindings(
    module: nn.Module, program: ExportedProgram, names: Mapping[str, str], nodes: tuple[Node, ...]
) -> tuple[tuple[Binding, ...], dict[str, np.ndarray]]:
    uses = roles(nodes)
    tensors = preflight.named_tensors(module)
    persistent = set(module.state_dict(keep_vars=True))
    siblings: dict[str, set[str]] = {}  # tensors and sub-modules beside each other
    for key in tensors:
        parts = key.split(".")
        for i, part in enumerate(parts):
            siblings.setdefault(".".join(parts[:i]), set()).add(part)
    holders: dict[int, list[tuple[str, str]]] = {}
    bindings: list[Binding] = []
    state: dict[str, np.ndarray] = {}
    for spec in input_specs(program, InputKind.PARAMETER, InputKind.BUFFER):
        key = str(spec.target)
        holders.setdefault(id(tensors[key]), []).append((key, names[spec.arg.name]))
    for group in holders.values():
        keys = [key for key in tensors if tensors[key] is tensors[group[0][0]]]
        used = next((name for _, name in group if name in uses), group[0][1])
        key, tensor = keys[0], tensors[keys[0]]
        path, _, leaf = key.rpartition(".")
        roles_here = uses.get(used, set())
        leaf = choose_leaf(roles_here, leaf, siblings[path])
        bindings.append(
            Binding(
                name=used,
                key=key,
                collection=collection(
                    parameter=isinstance(tensor, nn.Parameter), trainable=tensor.requires_grad, uses=roles_here
                ),
                path=_flax_path((*(path.split(".") if path else ()), leaf)),
                perm=choose_perm(roles_here, tensor.ndim),
                spec=_tensor_spec(tensor),
                aliases=tuple(keys[1:]),
                persistent=key in persistent,
            )
        )
        state[used] = tensor.detach().cpu().numpy()
    for spec in input_specs(program, InputKind.CONSTANT_TENSOR):
        constant, name = program.constants[str(spec.target)], names[spec.arg.name]
        home = next(word for word in ("constants", "constants_", "constants__") if word not in siblings.get("", ()))
        taken = {binding.path for binding in bindings}
        leaf = str(spec.target).replace(".", "_")
        while (home, leaf) in taken:
            leaf += "_"
        bindings.append(Binding(name, "", "buffers", (home, leaf), (), _tensor_spec(constant)))
        state[name] = constant.detach().cpu().numpy()
    return tuple(bindings), state


def _flax_path(path: tuple[str, ...]) -> tuple[str, ...]:
    """The keys under a collection; Flax takes a first key ``params`` for a second collection."""
    return (f"{path[0]}_", *path[1:]) if path[0] == "params" else path


def _outputs(program: ExportedProgram, names: Mapping[str, str]) -> tuple[tuple[Ref, ...], Any]:
    """The tensors that are returned, and how they are nested."""
    specs = program.graph_signature.output_specs
    written = [str(spec.target) for spec in specs if spec.kind is not OutputKind.USER_OUTPUT]
    if written:
        raise UnsupportedOp(f"the forward pass writes to {', '.join(written)}; a port has no state that changes")
    kept: list[Ref] = []
    leaves: list[int | None] = []
    for spec in specs:
        if isinstance(spec.arg, ConstantArgument) and spec.arg.value is None:
            leaves.append(None)
        elif getattr(spec.arg, "name", None) in names:
            leaves.append(len(kept))
            kept.append(Ref(names[str(spec.arg.name)]))
        else:
            break
    if len(leaves) != len(specs) or not kept:
        raise UnsupportedOp("the forward pass must return a tensor, or a tuple or dict of tensors")
    nested = _plain(tree_unflatten(leaves, program.call_spec.out_spec))
    return tuple(kept), nested


def _plain(value: Any) -> Any:
    """Nested outputs in tuples and dicts, whatever the module itself uses."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    raise UnsupportedOutput(
        f"the model returns a {type(value).__name__}, expected a tensor, or a tuple or dict of tensors; "
        "wrap it in a module whose forward returns the tensors that you need"
    )
