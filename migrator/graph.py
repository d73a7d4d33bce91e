"""The graph that lies between torch and Flax: plain dataclasses, JSON in and out, no torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

from migrator.errors import CorruptPort

OPSET = 1
"""Version of the meaning of the operators; raised whenever a rule changes what it computes."""

BATCH = "N"
"""How the batch dimension is written in a shape."""


class Ref(NamedTuple):
    """The value of another node."""

    name: str


class Dtype(NamedTuple):
    """A number type by its NumPy name; `float32` means the precision that the model runs in."""

    dtype: str


Perm: TypeAlias = tuple[int, ...]
"""Storage order of a tensor: the torch axes in the order in which they are stored; `()` is torch's own order."""


@dataclass(frozen=True)
class TensorSpec:
    """Shape (an unknown dimension is a string such as `N`) and number type of a tensor."""

    shape: tuple[int | str, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


Result: TypeAlias = "TensorSpec | tuple[Result, ...] | None"
"""What a node returns: a tensor, several, or `None` for a plain number."""


Structure: TypeAlias = "int | tuple[Structure, ...] | dict[str, Structure] | None"
"""How outputs are nested."""


@dataclass(frozen=True)
class Binding:
    """One stored tensor: where torch keeps it, where Flax keeps it, and in which order of axes.

    Args:
        name: the graph's name of the value.
        key: torch's qualified name, or `""` for a constant of the forward pass.
        collection: `params`, `batch_stats`, `frozen` or `buffers`.
        path: the keys under the collection.
        perm: storage order of the axes.
        spec: shape and type as in torch.
        aliases: further qualified names of the same tensor (tied weights).
        persistent: whether torch's `state_dict` contains it.
    """

    name: str
    key: str
    collection: str
    path: tuple[str, ...]
    perm: Perm
    spec: TensorSpec
    aliases: tuple[str, ...] = ()
    persistent: bool = True

    @property
    def file_key(self) -> str:
        """Name of the tensor in `model.safetensors`, for example `params/layer1.0.conv1.kernel`."""
        return f"{self.collection}/{'.'.join(self.path)}"

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape in storage order."""
        shape = tuple(int(size) for size in self.spec.shape)
        return tuple(shape[axis] for axis in self.perm) if self.perm else shape


@dataclass(frozen=True)
class Node:
    """One operator: `name = op(*args, **kwargs)`, and where in the torch model it came from."""

    name: str
    op: str
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]
    result: Result
    module: str = field(default="", compare=False)
    source: str = field(default="", compare=False)


@dataclass(frozen=True)
class Input:
    """One input of the network."""

    name: str
    spec: TensorSpec


@dataclass(frozen=True, eq=False)
class Graph:
    """A network as a list of operators in order of execution.

    Args:
        inputs: what it takes.
        bindings: its tensors.
        nodes: its operators.
        outputs: the values that it returns.
        structure: how these are nested: a position in `outputs`, `None`, or a tuple or dict of such.
        opset: version of the operators' meaning.
        modules: path of each torch module that was called -> name of its class; `""` is the network itself.
    """

    inputs: tuple[Input, ...]
    bindings: tuple[Binding, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Ref, ...]
    structure: Structure = 0
    opset: int = OPSET
    modules: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides what the graph computes (so not of the source lines or the weights)."""
        content = json.dumps(to_json(self, origins=False), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def sources(self) -> list[Input | Binding]:
        """Everything that is known before the first operator."""
        return [*self.inputs, *self.bindings]

    @cached_property
    def results(self) -> Mapping[str, Result]:
        """What each value is, by its name."""
        known: dict[str, Result] = {value.name: value.spec for value in self.sources}
        return known | {node.name: node.result for node in self.nodes}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def refs(value: Any) -> Iterator[Ref]:
    """All references inside an argument, in order."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, tuple) and not isinstance(value, Dtype):
        for item in value:
            yield from refs(item)


def map_refs(value: Any, change: Callable[[Ref], Any]) -> Any:
    """The argument with every reference replaced by `change(reference)`."""
    if isinstance(value, Ref):
        return change(value)
    if isinstance(value, tuple) and not isinstance(value, Dtype):
        return tuple(map_refs(item, change) for item in value)
    return value


def _encode(value: Any) -> Any:
    if isinstance(value, Ref):
        return {"ref": value.name}
    if isinstance(value, Dtype):
        return {"dtype": value.dtype}
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item) for item in value)
    if isinstance(value, dict):
        if set(value) == {"ref"}:
            return Ref(_text(value["ref"]))
        if set(value) == {"dtype"}:
            return Dtype(_text(value["dtype"]))
        if set(value) == {"float"} and value["float"] in ("inf", "-inf", "nan"):
            return float(value["float"])
        raise CorruptPort(f"graph.json: unknown argument {value!r}; convert the model again")
    return value


def _encode_result(result: Result) -> Any:
    if isinstance(result, TensorSpec):
        return {"shape": list(result.shape), "dtype": result.dtype}
    return None if result is None else [_encode_result(item) for item in result]


def _decode_result(value: Any) -> Result:
    if isinstance(value, list):
        return tuple(_decode_result(item) for item in value)
    return None if value is None else _decode_spec(value)


def _decode_spec(value: Any) -> TensorSpec:
    shape = tuple(value["shape"])
    if not all(isinstance(size, str) or (isinstance(size, int) and size >= 0) for size in shape):
        raise CorruptPort(f"graph.json: {list(shape)} is not a shape; convert the model again")
    return TensorSpec(shape, _text(value["dtype"]))


def to_json(graph: Graph, *, origins: bool = True) -> dict[str, Any]:
    """The graph as plain JSON data; `origins` adds module paths and source lines."""
    nodes = []
    for node in graph.nodes:
        entry = {
            "name": node.name,
            "op": node.op,
            "args": _encode(node.args),
            "kwargs": {key: _encode(value) for key, value in node.kwargs},
            "result": _encode_result(node.result),
        }
        nodes.append(entry | ({"module": node.module, "source": node.source} if origins else {}))
    bindings = [
        {
            "name": b.name,
            "key": b.key,
            "collection": b.collection,
            "path": list(b.path),
            "perm": list(b.perm),
            "spec": _encode_result(b.spec),
            "aliases": list(b.aliases),
            "persistent": b.persistent,
        }
        for b in graph.bindings
    ]
    data = {
        "opset": graph.opset,
        "inputs": [{"name": value.name, "spec": _encode_result(value.spec)} for value in graph.inputs],
        "bindings": bindings,
        "nodes": nodes,
        "outputs": [ref.name for ref in graph.outputs],
        "structure": graph.structure,
    }
    return data | ({"modules": dict(graph.modules)} if origins else {})


def from_json(data: Any) -> Graph:
    """The graph of `to_json`'s data.

    Raises:
        CorruptPort: when the data is not a well-formed graph of this operator-set version.
    """
    try:
        if data["opset"] != OPSET:
            raise CorruptPort(
                f"graph.json has operator set {data['opset']!r}, this migrator reads {OPSET}; convert the model again"
            )
        graph = Graph(
            inputs=tuple(Input(_text(i["name"]), _decode_spec(i["spec"])) for i in data["inputs"]),
            bindings=tuple(_decode_binding(b) for b in data["bindings"]),
            nodes=tuple(_decode_node(n) for n in data["nodes"]),
            outputs=tuple(Ref(_text(name)) for name in data["outputs"]),
            structure=_decode_structure(data["structure"], len(data["outputs"])),
            modules={_text(path): _text(kind) for path, kind in data.get("modules", {}).items()},
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptPort(f"graph.json is not a graph of this migrator ({error!r}); convert the model again") from error
    _check_order(graph)
    return graph


def _decode_structure(value: Any, count: int) -> Structure:
    if isinstance(value, list):
        return tuple(_decode_structure(item, count) for item in value)
    if isinstance(value, dict):
        return {_text(key): _decode_structure(item, count) for key, item in value.items()}
    if value is None or (type(value) is int and 0 <= value < count):
        return value
    raise CorruptPort(f"graph.json: {value!r} is not one of {count} outputs; convert the model again")


def _decode_node(data: Mapping[str, Any]) -> Node:
    return Node(
        name=_text(data["name"]),
        op=_text(data["op"]),
        args=_decode(list(data["args"])),
        kwargs=tuple((_text(key), _decode(value)) for key, value in data["kwargs"].items()),
        result=_decode_result(data["result"]),
        module=_text(data["module"]),
        source=_text(data["source"]),
    )


def _decode_binding(data: Mapping[str, Any]) -> Binding:
    spec, perm = _decode_spec(data["spec"]), tuple(data["perm"])
    if perm and sorted(perm) != list(range(len(spec.shape))):
        raise CorruptPort(
            f"graph.json: {list(perm)} is not an order of {len(spec.shape)} axes; convert the model again"
        )
    if data["collection"] not in ("params", "batch_stats", "frozen", "buffers"):
        raise CorruptPort(f"graph.json: unknown collection {data['collection']!r}; convert the model again")
    if not data["path"] or not all(isinstance(size, int) for size in spec.shape):
        raise CorruptPort(f"graph.json: {data['name']!r} has no path or no fixed shape; convert the model again")
    return Binding(
        name=_text(data["name"]),
        key=_text(data["key"]),
        collection=data["collection"],
        path=tuple(_text(part) for part in data["path"]),
        perm=perm,
        spec=spec,
        aliases=tuple(_text(alias) for alias in data["aliases"]),
        persistent=bool(data["persistent"]),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise CorruptPort(f"graph.json: expected a name, found {value!r}; convert the model again")
    return value


def _check_order(graph: Graph) -> None:
    seen: set[str] = set()

    def define(name: str) -> None:
        if name in seen:
            raise CorruptPort(f"graph.json defines {name!r} twice; convert the model again")
        seen.add(name)

    def use(ref: Ref) -> None:
        if ref.name not in seen:
            raise CorruptPort(f"graph.json uses {ref.name!r} before it is defined; convert the model again")

    for value in graph.sources:
        define(value.name)
    for node in graph.nodes:
        for ref in refs((node.args, tuple(value for _, value in node.kwargs))):
            use(ref)
        define(node.name)
    for ref in graph.outputs:
        use(ref)
