"""The operators of a graph grouped as the torch modules that called them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from migrator.module import Step

INLINED = 3
"""A module of at most this many operators is not a block of its own."""

CONTAINERS = ("Sequential", "ModuleList", "ModuleDict")


@dataclass(frozen=True)
class ModuleBlock:
    """A run of operators of one torch module, those of its sub-modules grouped again.

    Args:
        path: qualified name of the module.
        kind: name of its class.
        items: operators and blocks in order of execution.

    """

    path: str
    kind: str
    items: tuple[Step | ModuleBlock, ...]

    def steps(self) -> Iterator[Step]:
        """Yield all operators, those of the blocks inside too."""
        for item in self.items:
            if isinstance(item, ModuleBlock):
                yield from item.steps()
            else:
                yield item


def group(steps: tuple[Step, ...], kinds: Mapping[str, str], path: str = "") -> ModuleBlock:
    """Group operators, in order, by the modules below ``path``; small modules and containers dissolve.

    Args:
        steps: operators of the module at ``path``.
        kinds: path of each torch module that was called -> name of its class.
        path: of the module, ``""`` for the network.

    """
    items: list[Step | ModuleBlock] = []
    for child, run in groupby(steps, lambda step: _child(step.node.module, path, kinds)):
        members = tuple(run)
        if child is None:
            items += members
            continue
        block = group(members, kinds, child)
        dissolves = len(members) <= INLINED or block.kind in CONTAINERS
        items += block.items if dissolves else [block]
    return ModuleBlock(path, kinds.get(path, "Network"), tuple(items))


def _child(module: str, path: str, kinds: Mapping[str, str]) -> str | None:
    """The outermost called module below ``path`` that contains ``module``."""
    if module == path:
        return None
    parts = module.split(".")
    start = len(path.split(".")) if path else 0
    outer = (".".join(parts[:end]) for end in range(start + 1, len(parts) + 1))
    return next((name for name in outer if name in kinds), module)
