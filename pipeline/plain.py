"""Nested plain values, as YAML and JSON have them: merging and telling apart."""

import copy
from collections.abc import Mapping
from typing import Any


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of ``values`` with ``changes`` merged in, key by key to any depth.

    Args:
        values: what there is.
        changes: what wins.

    """
    result = copy.deepcopy(dict(values))
    for key, change in changes.items():
        before = result.get(key)
        both = isinstance(before, Mapping) and isinstance(change, Mapping)
        result[key] = merged(before, change) if both else copy.deepcopy(change)  # type: ignore[arg-type]
    return result


def differences(mine: Any, theirs: Any, path: str = "") -> list[str]:
    """Name every field in which two plain configurations differ, as ``path: old -> new``.

    Args:
        mine: one configuration.
        theirs: the other.
        path: where both lie, for the names.

    """
    if isinstance(mine, dict) and isinstance(theirs, dict):
        keys = sorted({*mine, *theirs})
        return [d for key in keys for d in differences(mine.get(key), theirs.get(key), f"{path}.{key}".lstrip("."))]
    return [] if mine == theirs else [f"{path}: {mine!r} -> {theirs!r}"]
