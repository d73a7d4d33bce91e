"""Flax variables, changed or not, to a torch ``state_dict``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from migrator.errors import PrecisionLoss, StateDictMismatch
from migrator.graph import Binding, Graph
from migrator.port import Migrated
from migrator.weights import to_torch_order

if TYPE_CHECKING:
    from torch import Tensor

SHOWN = 8


def to_state_dict(port: Migrated | Graph, variables: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return Flax variables as the ``state_dict`` of the torch module that was ported.

    Every number comes back as it is, in torch's own order of axes and type; tied names share one tensor, as in torch.

    Args:
        port: the port or its graph; loaded from a directory will do.
        variables: nested as the port's own, for example after a training in JAX.

    Returns:
        Qualified name -> tensor on the CPU, for ``module.load_state_dict``.

    Raises:
        StateDictMismatch: listing what is missing, unknown, or of another shape or kind.
        PrecisionLoss: torch's type of a tensor cannot hold its numbers.

    Example:
        >>> import torch
        >>> from migrator import migrate, to_state_dict
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
        >>> port = migrate(net, (torch.zeros(2, 3, 2, 2),))
        >>> bias = port.variables["params"]["1"]["bias"]
        >>> port.variables["params"]["1"]["bias"] = 0 * bias + 0.5  # or any training in JAX
        >>> net.load_state_dict(to_state_dict(port, port.variables))
        <All keys matched successfully>
        >>> net[1].bias.tolist()
        [0.5, 0.5, 0.5]

    """
    import torch

    graph = port.graph if isinstance(port, Migrated) else port
    state: dict[str, Tensor] = {}
    for binding, value in _values(graph, variables):
        if binding.key and binding.persistent:
            tensor = torch.from_numpy(_as_torch(binding, value))
            state |= dict.fromkeys((binding.key, *binding.aliases), tensor)
    return state


def _values(graph: Graph, variables: Mapping[str, Any]) -> list[tuple[Binding, np.ndarray]]:
    """Each binding with its value, in storage order, after everything that does not fit has been collected."""
    found = dict(_leaves(variables))
    wanted = {(binding.collection, *binding.path): binding for binding in graph.bindings}
    missing = [binding.file_key for place, binding in wanted.items() if place not in found]
    unknown = [f"{place[0]}/{'.'.join(place[1:])}" for place in found if place not in wanted]
    misshapen = [
        f"{binding.file_key} is {_shape(found[place])}, expected {list(binding.stored_shape)}"
        for place, binding in wanted.items()
        if place in found and _shape(found[place]) != list(binding.stored_shape)
    ]
    problems = {"missing": missing, "unknown": unknown, "of another shape": misshapen}
    if any(problems.values()):
        text = "; ".join(f"{what}: {', '.join(names[:SHOWN])}" for what, names in problems.items() if names)
        raise StateDictMismatch(
            f"the variables do not fit the port ({text}); give all of its collections, as `port.variables` has them"
        )
    return [(binding, np.asarray(found[place])) for place, binding in wanted.items()]


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _shape(value: Any) -> list[int] | str:
    return list(value.shape) if hasattr(value, "shape") else type(value).__name__


def _as_torch(binding: Binding, value: np.ndarray) -> np.ndarray:
    """A copy in torch's order and type; JAX keeps int64 as int32, and the other way round nothing may be lost."""
    dtype = np.dtype(binding.spec.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.array(to_torch_order(binding, value), dtype, order="C")
    kinds = np.issubdtype(value.dtype, np.floating), np.issubdtype(dtype, np.floating)
    if not np.array_equal(to_torch_order(binding, value), array, equal_nan=kinds[0] and kinds[1]):
        raise PrecisionLoss(
            f"{binding.file_key} is {value.dtype} and has values that torch's {dtype} ({binding.key}) cannot hold; "
            f"convert the variables to {dtype} first"
        )
    return array
