"""The graph that lies between torch and Flax: plain dataclasses, JSON in and out, no torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

OPSET = 2
"""Version of the meaning of the operators; raised whenever a rule changes what it computes."""

BATCH = "N"
"""How the batch dimension is written in a shape."""

COLLECTIONS = ("params", "batch_stats", "frozen", "buffers")
"""What Flax variables are divided into here."""


class Ref(NamedTuple):
    """The value of another node."""

    name: str


class Dtype(NamedTuple):
    """A number type by its NumPy name; ``float32`` means the precision that the model runs in."""

    dtype: str


Perm: TypeAlias = tuple[int, ...]
"""Storage order of a tensor: the torch axes in the order in which they are stored; ``()`` is torch's own order."""


@dataclass(frozen=True)
class TensorSpec:
    """Shape and number type of a tensor.

    Args:
        shape: sizes; one that is not known is a string such as ``N``.
        dtype: NumPy's name.

    """

    shape: tuple[int | str, ...]
    dtype: str

    @property
    def example(self) -> tuple[int, ...]:
        """Shape of one example of an input: the sizes after the batch."""
        return tuple(int(size) for size in self.shape[1:])

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


Result: TypeAlias = "TensorSpec | tuple[Result, ...] | None"
"""What a node returns: a tensor, several, or ``None`` for a plain number."""


Structure: TypeAlias = "int | tuple[Structure, ...] | dict[str, Structure] | None"
"""How outputs are nested."""


@dataclass(frozen=True)
class Binding:
    """One stored tensor: where torch keeps it, where Flax keeps it, and in which order of axes.

    Args:
        name: the graph's name of the value.
        key: torch's qualified name, or ``""`` for a constant of the forward pass.
        collection: ``params``, ``batch_stats``, ``frozen`` or ``buffers``.
        path: the keys under the collection.
        perm: storage order of the axes.
        spec: shape and type as in torch.
        aliases: further qualified names of the same tensor (tied weights).
        persistent: whether torch's ``state_dict`` contains it.

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
        """Name of the tensor in ``model.safetensors``, for example ``params/layer1.0.conv1.kernel``."""
        return f"{self.collection}/{'.'.join(self.path)}"

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape in storage order."""
        shape = tuple(int(size) for size in self.spec.shape)
        return tuple(shape[axis] for axis in self.perm) if self.perm else shape


@dataclass(frozen=True)
class Node:
    """One operator, ``name = op(*args, **kwargs)``.

    Args:
        name: the graph's name of its value.
        op: torch's name, for example ``aten.conv2d.default``.
        args: numbers, strings, ``Ref``, ``Dtype``, and tuples of such.
        kwargs: likewise, by name.
        result: what its value is.
        module: qualified name of the torch module that called it.
        source: ``file.py:line`` of the user's code that did.

    """

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
        structure: how these are nested: a position in ``outputs``, ``None``, or a tuple or dict of such.
        opset: version of the operators' meaning.
        modules: path of each torch module that was called -> name of its class; ``""`` is the network itself.

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
    """Yield all references inside an argument, in order."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, tuple) and not isinstance(value, Dtype):
        for item in value:
            yield from refs(item)


def map_refs(value: Any, change: Callable[[Ref], Any]) -> Any:
    """Return an argument with every reference replaced.

    Args:
        value: the argument, nested in tuples.
        change: maps a reference to what takes its place.

    """
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
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    return value


def _encode_result(result: Result) -> Any:
    if isinstance(result, TensorSpec):
        return {"shape": list(result.shape), "dtype": result.dtype}
    return None if result is None else [_encode_result(item) for item in result]


def to_json(graph: Graph, *, origins: bool = True) -> dict[str, Any]:
    """Return a graph as plain JSON data, see ``migrator.decode.from_json`` for the way back.

    Args:
        graph: any graph.
        origins: whether module paths and source lines are in it.

    """
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
