"""A graph as text for people."""

from __future__ import annotations

import math
from typing import Any

from migrator.graph import COLLECTIONS, Binding, Dtype, Graph, Ref, Result


def listing(graph: Graph) -> str:
    """Return a graph line by line: inputs, tensors by collection, operators, outputs."""
    lines = [f"input  {value.name}: {value.spec}" for value in graph.inputs]
    for name in COLLECTIONS:
        members = [binding for binding in graph.bindings if binding.collection == name]
        lines += [f"{name}:"] * bool(members) + [_tensor(binding) for binding in members]
    lines.append("operators:")
    where = None
    keys = {binding.name: binding.key or binding.name for binding in graph.bindings}
    for node in graph.nodes:
        if node.module != where:
            where = node.module
            lines.append(f"  [{where or 'forward'}]")
        call = ", ".join([_text(arg, keys) for arg in node.args] + [f"{k}={_text(v, keys)}" for k, v in node.kwargs])
        lines.append(f"    {node.name}: {_result(node.result)} = {node.op}({call})")
    return "\n".join([*lines, f"output {', '.join(ref.name for ref in graph.outputs)}"])


def _tensor(binding: Binding) -> str:
    count = math.prod(binding.stored_shape)
    tied = f", also {', '.join(binding.aliases)}" if binding.aliases else ""
    stored = f"{binding.spec.dtype}{list(binding.stored_shape)}"
    return f"  {'.'.join(binding.path)}: {stored} = {count:,} numbers, torch's {binding.key or 'constant'}{tied}"


def _text(value: Any, keys: dict[str, str]) -> str:
    if isinstance(value, Ref):
        return keys.get(value.name, value.name)
    if isinstance(value, Dtype):
        return value.dtype
    if isinstance(value, tuple):
        return f"[{', '.join(_text(item, keys) for item in value)}]"
    return repr(value)


def _result(result: Result) -> str:
    if isinstance(result, tuple):
        return f"({', '.join(_result(item) for item in result)})"
    return "int" if result is None else str(result)
