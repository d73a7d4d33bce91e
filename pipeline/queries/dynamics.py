"""dynamicAL: ask for what would make the labelled set's loss fall fastest, in the network as it is.

Δ({u}|S) = ‖g_u‖² + γ g_u·G, G = Σ_S g, γ = 2, with the label that the network predicts.  Source: Wang et al. 2022,
eqs. 12 and 15, algorithm 1; fig. 5 for γ = 0, 1 and ∞.

g = J(x)ᵀ d is the gradient of the loss that trained the network: d = p - y for cross-entropy, which the paper has; for
l2 it is f - y.  Algorithm 1 goes on from the weights that there are (``start: warm``) and scores the whole pool
(``query.subset`` as large as it); neither is asked of a run.
"""

from dataclasses import dataclass
from math import inf

import numpy as np

from linearize.dynamics import DYNAMICS
from pipeline.queries.base import Chosen, QueryStrategy, SequentialQuery
from pipeline.queries.selection import Selection, check_count, select_in_order, select_top
from pipeline.queries.state import LookAheadOptions, QueryState

FOLLOWING = 4
"""Candidates that are named as likely to be asked next."""


@dataclass(frozen=True)
class DynamicalStrategy(QueryStrategy):
    """Query where ‖g‖² + γ g·G is highest.

    Source: Wang et al. 2022, algorithm 1.

    Args:
        name: what users call it.
        description: half a line for ``pipeline list strategies``.
        gamma: γ.
        takes_mode: whether several are also chosen one after another, each in view of those before: where γ is 2, that
            is greedy for the training dynamics of all together (eq. 10); in view of the true answers, for eq. 9.

    """

    name: str
    description: str
    gamma: float
    takes_mode: bool = False
    source = "Wang et al. 2022"
    needs_port = True
    needs_gradients = True

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose ``n`` candidates before any of them is answered; in the mode ``sequential`` as in ``top``."""
        check_count(state.candidates, n)
        dynamics = state.dynamics
        if self.takes_mode and state.options.mode == "greedy":
            selection = select_in_order(state.candidates, dynamics.greedy(n, state.progress)[0])
        else:
            selection = select_top(state.candidates, dynamics.scores(self.gamma), n)
        figures = {"gradient_norm": dynamics.norm} | ({"dynamics_share": dynamics.share()} if self.gamma else {})
        return selection._replace(figures=figures)

    def query_sizes(self, options: LookAheadOptions, size: int, answers: int) -> tuple[int, ...]:
        """Return queries of ``size``, of 1 in the mode ``sequential``: answers count before the next is chosen."""
        if not self.takes_mode:
            return (answers,)
        each = 1 if options.mode == "sequential" else size
        whole, rest = divmod(answers, each)
        return (each,) * whole + (rest,) * bool(rest)

    def sequential_query(self, state: QueryState) -> SequentialQuery:
        """Open dynamics that take the answers in."""
        return _DynamicalQuery(self.gamma, state)


class _DynamicalQuery:
    """The training dynamics of the labelled set and the answers so far, which choose what is asked next."""

    def __init__(self, gamma: float, state: QueryState) -> None:
        self._gamma, self._options = gamma, state.options
        self._candidates, self._dynamics = state.candidates, state.dynamics
        self._positions = {int(sample): position for position, sample in enumerate(state.candidates)}

    def choose(self, n: int) -> Chosen:
        scores = np.where(self._dynamics.added, -np.inf, self._dynamics.scores(self._gamma))
        ranked = np.argsort(-scores, kind="stable")[: int((~self._dynamics.added).sum())]
        if self._options.mode != "greedy":
            return Chosen(self._candidates[ranked[:n]], scores[ranked[:n]], self._candidates[ranked[n:][:FOLLOWING]])
        chosen, changes = self._dynamics.greedy(n)
        return Chosen(self._candidates[chosen], changes, self._candidates[ranked[~np.isin(ranked, chosen)][:FOLLOWING]])

    def fork(self) -> "_DynamicalQuery":
        other = object.__new__(_DynamicalQuery)
        other.__dict__.update(self.__dict__)
        return other

    def observe(self, sample: int, label: int) -> None:
        self._dynamics = self._dynamics.add(self._positions[sample], label)

    def leave_out(self, sample: int) -> None:
        self._dynamics = self._dynamics.without(self._positions[sample])


DYNAMICAL: tuple[DynamicalStrategy, ...] = (
    DynamicalStrategy(
        "dynamical",
        "largest change of the training dynamics, ‖g‖² + 2 g·G; g is the gradient of the loss (p - y, with l2 f - y)",
        DYNAMICS,
        takes_mode=True,
    ),
    DynamicalStrategy("dynamical-0", "as dynamical, by the squared gradient length ‖g‖² alone", 0.0),
    DynamicalStrategy("dynamical-1", "as dynamical, by ‖g‖² + g·G", 1.0),
    DynamicalStrategy("dynamical-inf", "as dynamical, by g·G alone: influence with the identity for a Hessian", inf),
)
