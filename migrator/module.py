"""The one Flax module that runs any graph, and the memoised functions made from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from migrator.errors import CorruptPort, UnsupportedOp
from migrator.graph import Binding, Dtype, Graph, Node, Perm, Structure, TensorSpec
from migrator.layout import LOGICAL, Operand, Placed, Tags, to_perm
from migrator.ops import RULES

Variables: TypeAlias = Mapping[str, Any]
ApplyFn: TypeAlias = Callable[..., Any]

LARGEST_SIZE = 2**63
CACHED_GRAPHS = 128
"""How many graphs keep their functions (and so JAX's compiled code) alive."""


@dataclass(frozen=True)
class Step:
    """A node with the storage order of its operands and of its result decided."""

    node: Node
    placed: Placed


@lru_cache(maxsize=CACHED_GRAPHS)
def plan(graph: Graph) -> tuple[Step, ...]:
    """Decide for every value in which order it is stored.

    Args:
        graph: the captured network.

    Raises:
        UnsupportedOp: an operator of the graph has no rule.
        CorruptPort: an operator's arguments do not fit it.

    """
    missing = sorted({node.op for node in graph.nodes if node.op not in RULES})
    if missing:
        raise UnsupportedOp(f"the graph uses operators without a rule in this version: {', '.join(missing)}")
    perms: dict[str, Perm] = {binding.name: binding.perm for binding in graph.bindings}
    tags = Tags(graph.results, perms)
    steps = []
    for node in graph.nodes:
        try:
            placed = RULES[node.op].policy(node, tags)
        except Exception as error:  # torch's own exporter gives each operator arguments that fit
            raise CorruptPort(
                f"{node.name} ({node.op}) has arguments that do not fit; convert the model again"
            ) from error
        perms[node.name] = placed.perm
        steps.append(Step(node, placed))
    return tuple(steps)


class Values:
    """The values of a running graph, each in the storage orders asked for so far."""

    def __init__(self) -> None:
        self._stored: dict[str, tuple[Any, Perm]] = {}
        self._converted: dict[Operand, Array] = {}

    def put(self, name: str, value: Any, perm: Perm = LOGICAL) -> None:
        """Remember a value, or several.

        Args:
            name: the graph's name of it.
            value: as it is stored.
            perm: in which order.

        """
        self._stored[name] = (value, perm)

    def take(self, operand: Operand) -> Any:
        """Return a value in the order that the operand asks for."""
        value, perm = self._stored[operand.name]
        if perm == operand.perm:
            return value
        if operand not in self._converted:
            self._converted[operand] = to_perm(value, perm, operand.perm)
        return self._converted[operand]


def run(graph: Graph, read: Callable[[Binding], Array], inputs: tuple[Array, ...]) -> tuple[Array, ...]:
    """Run a graph operator by operator.

    Args:
        graph: the network.
        read: gives the stored tensor of a binding, in its storage order.
        inputs: one array per input, in torch's own order of axes.

    Returns:
        The outputs in torch's own order of axes.

    """
    return trace(graph, read, inputs, tuple(Operand(ref.name, LOGICAL) for ref in graph.outputs))


def trace(
    graph: Graph, read: Callable[[Binding], Array], inputs: tuple[Array, ...], wanted: tuple[Operand, ...]
) -> tuple[Array, ...]:
    """Run a graph operator by operator, for any of its values.

    Args:
        graph: the network.
        read: gives the stored tensor of a binding, in its storage order.
        inputs: one array per input, in torch's own order of axes.
        wanted: which values, and in which storage order.

    Returns:
        The values.

    Raises:
        CorruptPort: a size is larger than any array can be.

    """
    values = Values()
    stored = [(binding, read(binding)) for binding in graph.bindings]
    floating = _precision([value for _, value in stored] + list(inputs))
    for binding, value in stored:
        values.put(binding.name, value, binding.perm)
    for spec, value in zip(graph.inputs, inputs, strict=True):
        values.put(spec.name, value)

    def resolve(argument: Any) -> Any:
        if isinstance(argument, Operand):
            return values.take(argument)
        if isinstance(argument, Dtype):
            return _running(argument.dtype, floating)
        return tuple(resolve(item) for item in argument) if isinstance(argument, tuple) else argument

    for step in plan(graph):
        args = [resolve(argument) for argument in step.placed.args]
        kwargs = {key: resolve(value) for key, value in step.placed.kwargs}
        value = RULES[step.node.op].apply(*args, **kwargs)
        if isinstance(value, int) and abs(value) > LARGEST_SIZE:
            raise CorruptPort(f"{step.node.name} is a size of more than {LARGEST_SIZE}; convert the model again")
        values.put(step.node.name, value, step.placed.perm)
    return tuple(values.take(operand) for operand in wanted)


def _running(name: str, floating: Any) -> Any:
    """The type of that name, where the model's own precision stands for float32 and its complex numbers."""
    if name == "complex64":
        return jnp.result_type(floating, jnp.complex64)
    return floating if name == "float32" else canonical(name)


def _precision(values: list[Array]) -> Any:
    """The type in which the model runs: what its floating-point tensors promote to."""
    types = [value.dtype for value in values if jnp.issubdtype(value.dtype, jnp.floating)]
    return jnp.result_type(*types) if types else jnp.result_type(float)


def canonical(name: str) -> Any:
    """Return the type of that name, or the narrower one that stands for it while x64 is off."""
    return jax.dtypes.canonicalize_dtype(name)


class GraphModule(nn.Module):
    """A Flax module that computes a graph; its variables are read by the paths in the graph's bindings."""

    graph: Graph

    def __call__(self, *inputs: Any) -> Any:
        """The network's output for inputs in torch's own layout; nested as in torch when there are several."""
        return _nest(self.graph.structure, run(self.graph, self._read, tuple(jnp.asarray(value) for value in inputs)))

    def _read(self, binding: Binding) -> Array:
        value: Any = self.get_variable(binding.collection, binding.path[0])
        for part in binding.path[1:]:
            value = value[part]
        return jnp.asarray(value)


def _nest(structure: Structure, outputs: tuple[Array, ...]) -> Any:
    if isinstance(structure, tuple):
        return tuple(_nest(item, outputs) for item in structure)
    if isinstance(structure, dict):
        return {key: _nest(item, outputs) for key, item in structure.items()}
    return None if structure is None else outputs[structure]


def outputs_of(graph: Graph, nested: Any) -> tuple[Array, ...]:
    """Return what a graph's function returned, as one flat tuple in the graph's order.

    Args:
        graph: says how it is nested.
        nested: what came.

    """
    found: dict[int, Array] = {}

    def collect(structure: Structure, value: Any) -> None:
        if isinstance(structure, tuple):
            for item, part in zip(structure, value, strict=True):
                collect(item, part)
        elif isinstance(structure, dict):
            for key, item in structure.items():
                collect(item, value[key])
        elif structure is not None:
            found[structure] = value

    collect(graph.structure, nested)
    return tuple(found[position] for position in sorted(found))


def check_variables(graph: Graph, variables: Variables) -> None:
    """Refuse variables that lack a tensor of the graph or have one in another shape.

    Args:
        graph: the network.
        variables: nested, by collection.

    Raises:
        CorruptPort: naming the first tensor that does not fit.

    """
    for binding in graph.bindings:
        value: Any = variables.get(binding.collection, {})
        for part in binding.path:
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is None or tuple(value.shape) != binding.stored_shape:
            found = "nothing" if value is None else f"shape {list(value.shape)}"
            raise CorruptPort(f"{binding.file_key}: expected shape {list(binding.stored_shape)}, found {found}")


@lru_cache(maxsize=CACHED_GRAPHS)
def apply_function(graph: Graph) -> ApplyFn:
    """Return the jitted function ``(variables, x) -> y`` of a graph: the very same object for every equal graph.

    JAX finds compiled code by the identity of the function, so new weights for the same network cost no compilation.
    """
    module = GraphModule(graph)
    specs = graph.inputs

    def apply_fn(variables: Variables, *inputs: Any) -> Any:
        check_variables(graph, variables)
        if len(inputs) != len(specs):
            raise TypeError(f"the network takes {len(specs)} inputs, got {len(inputs)}")
        for spec, value in zip(specs, inputs, strict=True):
            _check_input(spec.name, spec.spec, tuple(value.shape))
        return module.apply(variables, *inputs)

    return jax.jit(apply_fn)


def _check_input(name: str, spec: TensorSpec, shape: tuple[int, ...]) -> None:
    fits = len(shape) == len(spec.shape)
    if not fits or any(isinstance(w, int) and w != h for w, h in zip(spec.shape, shape, strict=True)):
        wanted = ", ".join(map(str, spec.shape))
        raise ValueError(f"input {name!r}: expected shape [{wanted}] as in torch, got {list(shape)}")
