"""Where in the user's own code a node of an exported program comes from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath

import torch
from torch import fx


def module_path(node: fx.Node) -> str:
    """Return the qualified name of the torch module that a node came from."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [entry[0] for entry in stack.values() if isinstance(entry, tuple)]
    return paths[-1] if paths and "_empty_nn_module_stack" not in paths[-1] else ""


def module_kinds(nodes: Iterable[fx.Node]) -> dict[str, str]:
    """Return the qualified name of each torch module that was called -> the name of its class."""
    kinds: dict[str, str] = {}
    for node in nodes:
        for path, kind in (node.meta.get("nn_module_stack") or {}).values():
            name = kind if isinstance(kind, str) else kind.__qualname__
            if "_empty_nn_module_stack" not in path:
                kinds.setdefault(path, name.rpartition(".")[2])
    return kinds


def source_line(node: fx.Node) -> str:
    """Return ``file.py:line`` of the innermost line of the user's code, else of torch's."""
    lines = [
        line.strip() for line in (node.meta.get("stack_trace") or "").splitlines() if line.strip().startswith("File")
    ]
    places = [line.split('"')[1::2] + line.split("line ")[1:] for line in lines if '"' in line and "line " in line]
    own = [
        place for place in places if f"{PurePath(torch.__file__).parent}" not in place[0] and "<eval" not in place[0]
    ]
    if not (own or places):
        return ""
    path, number = (own or places)[-1][:2]
    return f"{PurePath(path).name}:{number.split(',')[0]}"
