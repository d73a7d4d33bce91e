"""From JSON to a graph; a file may be damaged or hostile, so nothing in it is taken on trust."""

from __future__ import annotations

import math
import re
from typing import Any

from migrator.errors import CorruptPort
from migrator.graph import (
    COLLECTIONS,
    OPSET,
    Binding,
    Dtype,
    Graph,
    Input,
    Node,
    Ref,
    Result,
    Structure,
    TensorSpec,
    refs,
)

AGAIN = "convert the model again"
DTYPES = frozenset(
    ("bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64", "complex64", "complex128")
)
LONGEST_NAME = 1024
LARGEST_RANK = 16
DEEPEST = 16
LARGEST_INT = 2**63
LARGEST_WINDOW = 2**22

SIZE = re.compile(r"[N\d][\w+\-*/(), ]{0,200}")
"""A size in terms of the batch, as torch writes it."""

WORD = re.compile(r"[A-Za-z_]\w*")


def from_json(data: Any) -> Graph:
    """Return the graph of ``migrator.graph.to_json``'s data.

    Args:
        data: what ``json.loads`` made of ``graph.json``.

    Raises:
        CorruptPort: the data is not a well-formed graph of this operator-set version.

    """
    fields = _fields(data, "opset", "inputs", "bindings", "nodes", "outputs", "structure", "modules")
    if type(fields["opset"]) is not int or fields["opset"] != OPSET:
        raise CorruptPort(
            f"graph.json has operator set {_short(fields['opset'])}, this migrator reads {OPSET}; {AGAIN}"
        )
    outputs = tuple(Ref(_text(name)) for name in _list(fields["outputs"]))
    graph = Graph(
        inputs=tuple(_input(entry) for entry in _list(fields["inputs"])),
        bindings=tuple(_binding(entry) for entry in _list(fields["bindings"])),
        nodes=tuple(_node(entry) for entry in _list(fields["nodes"])),
        outputs=outputs,
        structure=_structure(fields["structure"], len(outputs), 0),
        modules={_text(path, empty=True): _word(kind) for path, kind in _dict(fields["modules"]).items()},
    )
    if not graph.inputs or not outputs:
        raise CorruptPort(f"graph.json has no inputs or no outputs; {AGAIN}")
    _check_order(graph)
    _check_paths(graph)
    return graph


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str | int | float | bool | None) else type(value).__name__
    return text if len(text) < 80 else f"{text[:80]}..."


def _fields(data: Any, *names: str) -> dict[str, Any]:
    entry = _dict(data)
    if set(entry) != set(names):
        wrong = sorted(_short(name) for name in set(entry) ^ set(names))[:8]
        raise CorruptPort(f"graph.json lacks or does not know {', '.join(wrong)}; {AGAIN}")
    return entry


def _dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CorruptPort(f"graph.json: expected an object, found {_short(value)}; {AGAIN}")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise CorruptPort(f"graph.json: expected a list, found {_short(value)}; {AGAIN}")
    return value


def _text(value: Any, *, empty: bool = False) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_NAME or not value.isprintable() or not (value or empty):
        raise CorruptPort(f"graph.json: expected a name, found {_short(value)}; {AGAIN}")
    return value


def _word(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_NAME or not WORD.fullmatch(value):
        raise CorruptPort(f"graph.json: expected an identifier, found {_short(value)}; {AGAIN}")
    return value


def _size(value: Any) -> int | str:
    if type(value) is int and 0 <= value < LARGEST_INT:
        return value
    if isinstance(value, str) and SIZE.fullmatch(value) and "**" not in value:
        return value
    raise CorruptPort(f"graph.json: {_short(value)} is not a size; {AGAIN}")


def _dtype(value: Any) -> str:
    if not isinstance(value, str) or value not in DTYPES:
        raise CorruptPort(f"graph.json: {_short(value)} is not a number type; {AGAIN}")
    return value


def _spec(value: Any) -> TensorSpec:
    fields = _fields(value, "shape", "dtype")
    shape = tuple(_size(size) for size in _list(fields["shape"]))
    if len(shape) > LARGEST_RANK:
        raise CorruptPort(f"graph.json: a tensor of {len(shape)} axes, expected at most {LARGEST_RANK}; {AGAIN}")
    return TensorSpec(shape, _dtype(fields["dtype"]))


def _result(value: Any, depth: int = 0) -> Result:
    if isinstance(value, list) and depth < DEEPEST:
        return tuple(_result(item, depth + 1) for item in value)
    return None if value is None else _spec(value)


def _structure(value: Any, count: int, depth: int) -> Structure:
    if isinstance(value, list) and depth < DEEPEST:
        return tuple(_structure(item, count, depth + 1) for item in value)
    if isinstance(value, dict) and depth < DEEPEST:
        return {_text(key): _structure(item, count, depth + 1) for key, item in value.items()}
    if value is None or (type(value) is int and 0 <= value < count):
        return value
    raise CorruptPort(f"graph.json: {_short(value)} is not one of {count} outputs; {AGAIN}")


def _argument(value: Any, depth: int = 0) -> Any:
    if isinstance(value, list) and depth < DEEPEST:
        return tuple(_argument(item, depth + 1) for item in value)
    if isinstance(value, dict) and len(value) == 1:
        ((kind, content),) = value.items()
        if kind == "ref":
            return Ref(_text(content))
        if kind == "dtype":
            return Dtype(_dtype(content))
        if kind == "complex" and isinstance(content, list) and [type(part) for part in content] == [float, float]:
            return complex(*content)
        if kind == "float" and content in ("inf", "-inf", "nan"):
            return float(content)
    if isinstance(value, str):
        return _text(value, empty=True)
    if value is None or isinstance(value, bool) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, int) and abs(value) <= LARGEST_INT:
        return value
    raise CorruptPort(f"graph.json: unknown argument {_short(value)}; {AGAIN}")


def _input(value: Any) -> Input:
    fields = _fields(value, "name", "spec")
    spec = _spec(fields["spec"])
    if not spec.shape or any(isinstance(size, str) for size in spec.shape[1:]):
        raise CorruptPort(f"graph.json: an input of shape {list(spec.shape)}, expected the batch first; {AGAIN}")
    return Input(_text(fields["name"]), spec)


def _node(value: Any) -> Node:
    fields = _fields(value, "name", "op", "args", "kwargs", "result", "module", "source")
    node = Node(
        name=_text(fields["name"]),
        op=_text(fields["op"]),
        args=tuple(_argument(item) for item in _list(fields["args"])),
        kwargs=tuple((_word(key), _argument(item)) for key, item in _dict(fields["kwargs"]).items()),
        result=_result(fields["result"]),
        module=_text(fields["module"], empty=True),
        source=_text(fields["source"], empty=True),
    )
    counts = node.op.startswith(("operator.", "torch.sym_", "math.")) and node.op != "operator.getitem"
    if counts and not all(isinstance(item, Ref | int | float) for item in node.args):
        raise CorruptPort(f"graph.json: {node.name!r} counts with something that is no number; {AGAIN}")
    for item in node.args if "pool" in node.op else ():
        sizes = [abs(size) for size in (item if isinstance(item, tuple) else (item,)) if isinstance(size, int)]
        if math.prod(size or 1 for size in sizes) > LARGEST_WINDOW:
            raise CorruptPort(f"graph.json: {node.name!r} pools over more than {LARGEST_WINDOW:,} places; {AGAIN}")
    return node


def _binding(value: Any) -> Binding:
    names = ("name", "key", "collection", "path", "perm", "spec", "aliases", "persistent")
    fields = _fields(value, *names)
    spec, perm = _spec(fields["spec"]), tuple(_list(fields["perm"]))
    path = tuple(_text(part) for part in _list(fields["path"]))
    if perm and (any(type(axis) is not int for axis in perm) or sorted(perm) != list(range(len(spec.shape)))):
        raise CorruptPort(f"graph.json: {_short(perm)} is not an order of {len(spec.shape)} axes; {AGAIN}")
    if fields["collection"] not in COLLECTIONS or not isinstance(fields["persistent"], bool):
        raise CorruptPort(f"graph.json: unknown collection {_short(fields['collection'])}; {AGAIN}")
    if not path or any("/" in part or "." in part for part in path) or len(path) > 64:
        raise CorruptPort(f"graph.json: {_short(fields['name'])} is stored under no proper path; {AGAIN}")
    if any(isinstance(size, str) for size in spec.shape):
        raise CorruptPort(f"graph.json: {_short(fields['name'])} has no fixed shape; {AGAIN}")
    return Binding(
        name=_text(fields["name"]),
        key=_text(fields["key"], empty=True),
        collection=fields["collection"],
        path=path,
        perm=perm,
        spec=spec,
        aliases=tuple(_text(alias) for alias in _list(fields["aliases"])),
        persistent=fields["persistent"],
    )


def _check_order(graph: Graph) -> None:
    seen: set[str] = set()

    def define(name: str) -> None:
        if name in seen:
            raise CorruptPort(f"graph.json defines {name!r} twice; {AGAIN}")
        seen.add(name)

    def use(ref: Ref) -> None:
        if ref.name not in seen:
            raise CorruptPort(f"graph.json uses {ref.name!r} before it is defined; {AGAIN}")

    for value in graph.sources:
        define(value.name)
    for node in graph.nodes:
        for ref in refs((node.args, tuple(value for _, value in node.kwargs))):
            use(ref)
        define(node.name)
    for ref in graph.outputs:
        use(ref)


def _check_paths(graph: Graph) -> None:
    """No tensor may be stored where another one is, or inside it."""
    leaves = {(binding.collection, *binding.path) for binding in graph.bindings}
    inner = {leaf[:end] for leaf in leaves for end in range(2, len(leaf))}
    if len(leaves) < len(graph.bindings) or leaves & inner:
        raise CorruptPort(f"graph.json stores two tensors in one place; {AGAIN}")
