"""Between torch's state and Flax's variables: names, collections, storage orders."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from migrator.errors import PrecisionLoss
from migrator.graph import COLLECTIONS, Binding, Graph, Node, Perm, Ref
from migrator.layout import LOGICAL, inverse
from migrator.ops import RULES, Role


def roles(nodes: Iterable[Node]) -> dict[str, set[Role | None]]:
    """Return what each value is to the operators that use it directly; ``None`` stands for a use without a role."""
    found: dict[str, set[Role | None]] = {}
    for node in nodes:
        known = RULES[node.op].roles if node.op in RULES else {}
        for position, argument in enumerate(node.args):
            for ref in [argument] if isinstance(argument, Ref) else []:
                found.setdefault(ref.name, set()).add(known.get(position))
    return found


def choose_perm(uses: set[Role | None], rank: int) -> Perm:
    """Return Flax's order when all operators that give a tensor a role agree on it, else torch's own.

    Args:
        uses: what the tensor is to the operators that use it.
        rank: its number of axes.

    """
    wanted = {role.perm(rank) for role in uses if role is not None}
    return wanted.pop() if len(wanted) == 1 else LOGICAL


def choose_leaf(uses: set[Role | None], leaf: str, siblings: Iterable[str]) -> str:
    """Return Flax's name of a tensor, ``kernel`` for a convolution's ``weight``, unless a sibling has it already.

    Args:
        uses: what the tensor is to the operators that use it.
        leaf: torch's name, without the module path.
        siblings: torch's names of all tensors of the same module.

    """
    names = {role.leaf for role in uses if role is not None}
    if leaf not in ("weight", "bias", "running_mean", "running_var") or len(names) != 1:
        return leaf
    (name,) = names
    return leaf if name != leaf and name in siblings else name


def collection(*, parameter: bool, trainable: bool, uses: set[Role | None]) -> str:
    """Return which Flax collection a tensor of torch belongs to.

    Args:
        parameter: whether it is a parameter, not a buffer.
        trainable: whether it requires a gradient.
        uses: what it is to the operators that use it.

    """
    if parameter:
        return "params" if trainable else "frozen"
    statistic = any(role is not None and role.statistic for role in uses)
    return "batch_stats" if statistic else "buffers"


def to_variables(graph: Graph, state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return nested Flax variables of torch's tensors.

    Args:
        graph: says where each tensor goes, and in which storage order.
        state: the graph's name of the tensor -> its values in torch's own order.

    Returns:
        ``{"params": {...}, "batch_stats": {...}, "frozen": {...}, "buffers": {...}}``.

    Raises:
        PrecisionLoss: JAX, as it is set, cannot hold a tensor's numbers.

    """
    variables: dict[str, Any] = {name: {} for name in COLLECTIONS}
    for binding in graph.bindings:
        value = state[binding.name]
        stored = np.transpose(value, binding.perm) if binding.perm else value
        put(variables, binding, as_jax(stored, binding.key or binding.name))
    return variables


def put(variables: dict[str, Any], binding: Binding, value: Any) -> None:
    """Store a tensor under its collection and path.

    Args:
        variables: changed in place.
        binding: says where.
        value: the tensor in its storage order.

    """
    level = variables.setdefault(binding.collection, {})
    for part in binding.path[:-1]:
        level = level.setdefault(part, {})
    level[binding.path[-1]] = value


def get(variables: Mapping[str, Any], binding: Binding) -> Any:
    """Return the tensor under a binding's collection and path, in its storage order.

    Args:
        variables: nested, by collection.
        binding: says where.

    """
    value: Any = variables[binding.collection]
    for part in binding.path:
        value = value[part]
    return value


def to_torch_order(binding: Binding, value: Any) -> np.ndarray:
    """Return a stored tensor in torch's own order of axes.

    Args:
        binding: says in which order it is stored.
        value: the tensor.

    """
    array = np.asarray(value)
    return np.transpose(array, inverse(binding.perm)) if binding.perm else array


def as_jax(value: np.ndarray, name: str) -> jax.Array:
    """Return a copy on JAX's side; torch changes its weights in place.

    Args:
        value: the tensor.
        name: what an error calls it.

    Raises:
        PrecisionLoss: JAX, as it is set, cannot hold its numbers.

    """
    array = jax.device_put(np.array(value))  # NumPy's copy: JAX would compile one for each shape
    if array.dtype != value.dtype:
        if value.dtype == np.float64:
            raise PrecisionLoss(
                f"{name} is float64 and JAX runs in float32; convert the model with `.float()`, "
                "or enable x64 in JAX before the migration"
            )
        if not np.array_equal(np.asarray(array), value):
            raise PrecisionLoss(f"{name} ({value.dtype}) has values that {array.dtype} cannot hold; enable x64 in JAX")
    return array


def fingerprint(graph: Graph, variables: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a graph and all its stored tensors.

    Args:
        graph: the network.
        variables: its tensors.

    """
    sha = hashlib.sha256(graph.digest.encode())
    for binding in sorted(graph.bindings, key=lambda b: b.file_key):
        array = np.asarray(get(variables, binding))
        sha.update(f"{binding.file_key} {array.dtype} {array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def key_map(graph: Graph) -> dict[str, str]:
    """Return torch's qualified names, tied ones included -> keys of the saved file."""
    names = {binding.key: binding.file_key for binding in graph.bindings if binding.key}
    tied = {alias: binding.file_key for binding in graph.bindings for alias in binding.aliases}
    return names | tied
