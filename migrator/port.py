"""``Migrated``: a network that has moved from torch to Flax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from migrator.graph import Graph
from migrator.module import ApplyFn, GraphModule
from migrator.report import Report


@dataclass
class Migrated:
    """A ported network.

    Args:
        apply_fn: ``(variables, x) -> y`` with ``x`` in torch's own layout, such as ``[N, C, H, W]``. It is jitted, and
            the same object for every port of the same network, whatever the weights.
        variables: ``params``, ``batch_stats`` (frozen running statistics), ``frozen`` and ``buffers``, nested by
            torch's names.
        graph: the operators.
        report: what was converted; ``verify`` replaces it by one that also says what was checked.

    """

    apply_fn: ApplyFn
    variables: Mapping[str, Any] = field(repr=False)
    graph: Graph = field(repr=False)
    report: Report

    @property
    def module(self) -> GraphModule:
        """The Flax module, for ``module.apply(variables, x)``."""
        return GraphModule(self.graph)
