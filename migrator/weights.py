"""Between torch's state and Flax's variables: names, collections, storage orders."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from migrator.errors import PrecisionLoss
from migrator.graph import COLLECTIONS, Binding, Graph, Node, Perm, Ref
from migrator.layout import LOGICAL
from migrator.ops import RULES, Role


def roles(nodes: Iterable[Node]) -> dict[str, set[Role | None]]:
    """What each value is to the operators that use it directly; `None` stands for a use without a role."""
    found: dict[str, set[Role | None]] = {}
    for node in nodes:
        known = RULES[node.op].roles if node.op in RULES else {}
        for position, argument in enumerate(node.args):
            for ref in [argument] if isinstance(argument, Ref) else []:
                found.setdefault(ref.name, set()).add(known.get(position))
    return found


def choose_perm(uses: set[Role | None], rank: int) -> Perm:
    """Flax's order when all operators that give the tensor a role agree on it, else torch's own."""
    wanted = {role.perm(rank) for role in uses if role is not None}
    return wanted.pop() if len(wanted) == 1 else LOGICAL


def choose_leaf(uses: set[Role | None], leaf: str, siblings: Iterable[str]) -> str:
    """Flax's name of a tensor (`weight` of a convolution is `kernel`), unless a sibling has that name already.

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
    """Which Flax collection a tensor of torch belongs to."""
    if parameter:
        return "params" if trainable else "frozen"
    statistic = any(role is not None and role.statistic for role in uses)
    return "batch_stats" if statistic else "buffers"


def to_variables(graph: Graph, state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Nested Flax variables from torch's tensors.

    Args:
        graph: says where each tensor goes, and in which storage order.
        state: the graph's name of the tensor -> its values in torch's own order.

    Returns:
        `{"params": {...}, "batch_stats": {...}, "frozen": {...}, "buffers": {...}}`.

    Raises:
        PrecisionLoss: when JAX, as it is set, cannot hold a tensor's numbers.
    """
    variables: dict[str, Any] = {name: {} for name in COLLECTIONS}
    for binding in graph.bindings:
        value = state[binding.name]
        stored = np.transpose(value, binding.perm) if binding.perm else value
        put(variables, binding, as_jax(stored, binding.key or binding.name))
    return variables


def put(variables: dict[str, Any], binding: Binding, value: Any) -> None:
    """Store a tensor under its collection and path."""
    level = variables.setdefault(binding.collection, {})
    for part in binding.path[:-1]:
        level = level.setdefault(part, {})
    level[binding.path[-1]] = value


def get(variables: Mapping[str, Any], binding: Binding) -> Any:
    """The tensor under a binding's collection and path, in its storage order."""
    value: Any = variables[binding.collection]
    for part in binding.path:
        value = value[part]
    return value


def to_torch_order(binding: Binding, value: Any) -> np.ndarray:
    """A stored tensor in torch's own order of axes."""
    array = np.asarray(value)
    return np.transpose(array, np.argsort(binding.perm)) if binding.perm else array


def as_jax(value: np.ndarray, name: str) -> jax.Array:
    """A copy on JAX's side (torch changes its weights in place), refused when it would be rounded on the way."""
    array = jnp.array(value, copy=True)
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
    """SHA-256 over the graph and all stored tensors."""
    sha = hashlib.sha256(graph.digest.encode())
    for binding in sorted(graph.bindings, key=lambda b: b.file_key):
        array = np.asarray(get(variables, binding))
        sha.update(f"{binding.file_key} {array.dtype} {array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def key_map(graph: Graph) -> dict[str, str]:
    """Torch's qualified names, tied ones included -> keys of the saved file."""
    names = {binding.key: binding.file_key for binding in graph.bindings if binding.key}
    tied = {alias: binding.file_key for binding in graph.bindings for alias in binding.aliases}
    return names | tied
