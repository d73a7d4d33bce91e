"""Convergence rate control: how slow the slowest direction of gradient descent is once a group of samples is labelled.

K̃(x,x') = Σ_c K_cc(x,x'), C times the kernel with the head ``trace``, over labelled ∪ group; its smallest eigenvalue is
the rate at which the last of the squared error goes (lemma 1), and the group with the largest is asked about.

Over the last layer alone, f = W h + b, ∂f_c/∂W_c = h whatever c: K̃ = C (h·h' + 1), of which h are all that is needed,
and whose rank is d + 1 at most (without a bias C h·h' and d).  From so many samples on the smallest eigenvalue is 0
whatever the group.  The score here is the r-th largest, r = min(n, rank bound): the smallest where that can be above 0,
which is 0 for a group with a copy, as proposition 2 wants it.  The published λ⁺_min, the smallest above 0, does not: a
copy only adds an eigenvalue 0, which it passes over, so that an exact copy scores as the group without it and better
than a near one; and what of all that is 0 but for rounding is above 0, a tolerance decides.

Source: Kong et al. 2021, eq. 9, algorithm 1 and section 3.3.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from linearize.bordered import EPSILON, Bordered
from linearize.engine.execute import arithmetic
from linearize.errors import LinearizeError, NonFiniteError
from linearize.gradients import Examples, LossGradients
from linearize.heads import Trace
from linearize.kernel import convert, empirical_ntk, tape_of
from linearize.types import Float64, Layers, Progress

Rule = Literal["rank", "positive"]
"""Which eigenvalue: the r-th largest, r = min(n, rank bound), or the published λ⁺_min, the smallest above 0."""
PORTION = 256
"""Samples of groups whose kernel is computed at once; of it only the groups' own blocks are kept."""
ROUNDOFF = {"float64": 2.0**-53, "bfloat16": 2.0**-8, "tensorfloat32": 2.0**-11}
"""Unit roundoff of what a kernel's entries are made of; of every other precision float32's."""
FLOAT32 = 2.0**-24


@dataclass(frozen=True)
class Conditioning:
    """The kernels K̃ of labelled ∪ group, of many groups.

    Args:
        bordered: them.
        bound: what their rank cannot exceed.
        roundoff: of what their entries were computed in, relative to the largest eigenvalue.

    """

    bordered: Bordered
    bound: int
    roundoff: float

    @property
    def index(self) -> int:
        """r = min(n, rank bound)."""
        return min(self.bordered.rows, self.bound)

    def scores(self, rule: Rule = "rank") -> Float64:
        """Return the eigenvalue of each group by which it is ranked, ``[g]``.

        Args:
            rule: which eigenvalue.

        """
        if rule == "rank":
            return self.bordered.eigenvalue(self.index)
        positive = self.bordered.count_above(self.bordered.resolution)
        return self.bordered.eigenvalue(np.maximum(positive, 1))

    @cached_property
    def labelled(self) -> float:
        """λ_min of the labelled set alone, by the same rule: while n ≤ rank bound, no group scores more.

        By interlacing λ_min(L ∪ u) ≤ λ_min(L): scores lie in [0, λ_min(L)], and where they are close to its upper end
        the labelled set decides them all.
        """
        G = self.bordered.corners.shape[-1]
        values = self.bordered.values
        r = min(self.bordered.rows - G, self.bound)
        return float(max(values[r - 1], 0.0)) if r <= len(values) else 0.0

    @cached_property
    def floor(self) -> float:
        """The eigenvalue below which scores are rounding of the kernel's entries."""
        return float(self.bordered.scale.max()) * max(self.roundoff, self.bordered.rows * EPSILON)


def last_layer_conditioning(
    labelled: np.ndarray, pool: np.ndarray, groups: np.ndarray, classes: int, *, bias: bool = True
) -> Conditioning:
    """Make the last layer's kernels, K̃ = C (h·h' + 1), of features alone.

    A feature that is 0 on every sample, of a unit that has died, adds nothing to the rank: the bound counts the others.

    Source: Kong et al. 2021, section 3.3 and table 2.

    Args:
        labelled: h(x) ``[n, d]``.
        pool: h(x) ``[U, d]``.
        groups: positions in the pool ``[g, G]``.
        classes: C.
        bias: whether the layer has one, whose gradient is 1.

    Raises:
        NonFiniteError: a feature is NaN or infinite.

    """
    sets = [np.asarray(h, np.float64) for h in (labelled, pool)]
    if not all(np.isfinite(h).all() for h in sets):
        raise NonFiniteError("the network's features contain NaN or infinity: train it again with a lower rate")
    alive = sum(np.count_nonzero(h, axis=0) for h in sets) > 0
    F, H = (np.hstack([h, np.ones((len(h), 1))]) if bias else h for h in sets)
    bordered = Bordered.of_features(F, H[groups], classes)
    return Conditioning(bordered, max(int(alive.sum()) + bias, 1), FLOAT32**2)


def kernel_conditioning(
    network: LossGradients,
    labelled: Examples,
    fetch: Callable[[np.ndarray], np.ndarray],
    groups: np.ndarray,
    progress: Progress | None = None,
) -> Conditioning:
    """Make the kernels K̃ over all layers, or over those that the network's options name, of gradients.

    n² + n U + U P entries are computed, P = 256 or G, and n² + n U + U G of them kept.

    Source: Kong et al. 2021, section 3.1, and table 2 ("full").

    Args:
        network: of whose options ``layers``, ``precision``, ``memory_budget`` and ``devices`` are read.
        labelled: inputs of the labelled set.
        fetch: maps positions in the pool to inputs.
        groups: positions ``[g, G]``.
        progress: called with ``(samples of the pool done, all of them)``.

    Raises:
        LinearizeError: no trainable parameter.
        MemoryBudgetError: the budget is too small.
        NonFiniteError: an entry overflows.

    """
    options = replace(network.options, head="trace", ridge=0.0)
    x = labelled.fetch(np.arange(labelled.size))
    C, bound = _rank(network, x)

    def kernel(a: np.ndarray, b: np.ndarray | None = None) -> Float64:
        return C * empirical_ntk(network.apply_fn, network.variables, a, b, options=options)

    (g, G), n = groups.shape, labelled.size
    A, B, corners = kernel(x), np.empty((n, g * G)), np.empty((g, G, G))
    each = min(max(PORTION // G, 1), g)
    for start in range(0, g, each):
        taken = np.arange(start, start + each).clip(max=g - 1)  # the last portion is as large, so nothing recompiles
        u, own = fetch(groups[taken].reshape(-1)), slice(start, min(start + each, g))
        width = own.stop - start
        B[:, start * G : own.stop * G] = kernel(x, u)[:, : width * G]
        blocks = kernel(u).reshape(each, G, each, G)
        corners[own] = blocks[np.arange(each), :, np.arange(each)][:width]
        if progress:
            progress(own.stop * G, g * G)
    roundoff = ROUNDOFF.get(options.precision, FLOAT32)
    return Conditioning(Bordered.of_kernel(A, B, corners), bound, roundoff)


def _rank(network: LossGradients, x: np.ndarray) -> tuple[int, int]:
    """Return C, and what the rank of K̃ cannot exceed.

    A parameter has a gradient of each of C outputs; one of the last layer has it of its own output alone.
    """
    sizes: dict[Layers, int] = {}
    precision = network.options.precision
    with arithmetic(precision):
        arrays = convert(network.variables, x, precision)
        for layers in ("all", "last"):
            options = replace(network.options, head=Trace(), layers=layers)
            try:
                tape = tape_of(network.apply_fn, *arrays, options)
            except LinearizeError:
                if layers == "all":
                    raise
                sizes["last"] = 0  # there is no linear layer at all
            else:
                sizes[layers], C = sum(unit.size for unit in tape.units), tape.outputs
    others = 0 if network.options.layers == "last" else sizes["all"] - sizes["last"]
    return C, sizes["last"] // C + C * others
