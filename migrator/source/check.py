"""The source of a port against the port itself."""

from __future__ import annotations

import jax
import numpy as np

from migrator.compare import EXACT, SEED, Checks, cast, double, drawn, floor_of, furthest, relative
from migrator.port import Migrated
from migrator.source.run import apply_source
from migrator.tangents import compiled_of

BATCH = 2


def check_source(migrated: Migrated, text: str) -> None:
    """Compare the source of a port with the port itself on noise, without torch.

    Args:
        migrated: the port.
        text: as ``migrator.to_source`` writes it; it is executed.

    Raises:
        PortMismatch: outputs, gradients or tangent kernel differ, or the text cannot be run.

    """
    graph, checks, rng = migrated.graph, Checks(), np.random.default_rng(SEED)
    ours, written = (compiled_of(apply, graph) for apply in (migrated.apply_fn, apply_source(text)))
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        variables = cast(migrated.variables, np.float64)
        x = double(drawn(rng, (value.spec for value in graph.inputs), BATCH))
        expected = ours.forward(variables, *x)
        checks("output of the source", furthest(written.forward(variables, *x), expected, floor_of(x)), EXACT)
        single = ours.forward(variables, *(value[:1] for value in x))
        weights = tuple(rng.standard_normal((len(x[0]), *np.shape(y))) for y in single)
        pairs = zip(*(jax.tree.leaves(side.tangents(variables, x, weights)) for side in (written, ours)), strict=True)
        checks("gradients of the source", max((relative(a, b) for a, b in pairs), default=0.0), EXACT)
