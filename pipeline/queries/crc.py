"""Convergence rate control: the groups with which the labelled set would be learned fastest."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from linearize import Examples
from linearize.convergence import Conditioning, Rule, kernel_conditioning, last_layer_conditioning
from pipeline.queries.base import QueryStrategy
from pipeline.queries.selection import Selection, check_count, select_top
from pipeline.queries.state import QueryState

SHARE = 10
"""A query is asked for in so many groups where nobody says their size, as the paper does on CIFAR (appendix B.1)."""


@dataclass(frozen=True)
class ConvergenceRateControl(QueryStrategy):
    """Draw groups of candidates without replacement, and ask for the n/G whose kernel with the labelled set is best.

    The score of a group is the r-th largest eigenvalue of K̃ over labelled ∪ group, r = min(n, rank bound): see
    ``linearize.convergence``, also for what is wrong with the published λ⁺_min.  No label is read, not even the
    network's own.  Candidates in no group, fewer than G of them, score 0 and come last, as do all of a group that holds
    a copy.  Where n is no multiple of G, of the last group as many as are missing are asked for.

    Source: Kong et al. 2021, algorithm 1.

    Args:
        name: what users call it.
        description: half a line for ``pipeline list strategies``.
        needs_port: whether the kernel is of all layers, or of those that ``kernel.layers`` names, by gradients; else of
            the last layer, by features.
        group: G; what ``query.group`` says where absent, else a tenth of the query. ``whole`` for all of the query.
        rule: which eigenvalue.

    """

    name: str
    description: str
    needs_port: bool = False
    group: int | Literal["whole"] | None = None
    rule: Rule = "rank"
    source = "Kong et al. 2021"
    takes_pools = True

    @property
    def needs_features(self) -> bool:  # type: ignore[override]
        """Whether the last layer's inputs are read."""
        return not self.needs_port

    @property
    def needs_gradients(self) -> bool:  # type: ignore[override]
        """Whether the network's own kernel is computed here."""
        return self.needs_port

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose ``n`` candidates, group by group, the best group first."""
        check_count(state.candidates, n)
        groups = self._draw(state, n)
        conditioning = self._conditioning(state, groups)
        scores = conditioning.scores(self.rule)
        candidate_scores = np.zeros(len(state.candidates))
        candidate_scores[groups] = apart(scores)[:, None]
        selection = select_top(state.candidates, candidate_scores, n)
        return selection._replace(figures=figures(conditioning, scores))

    def size(self, state: QueryState, n: int) -> int:
        """Return G.

        Args:
            state: of the cycle.
            n: how many are asked for.

        """
        given = self.group or state.options.group or max(1, n // SHARE)
        return n if given == "whole" else min(given, n)

    def _draw(self, state: QueryState, n: int) -> np.ndarray:
        """Draw groups without replacement, ``[g, G]``: of pools, as many of each as the query has."""
        if state.pools is not None:
            drawn = [state.rng.permutation(pool) for pool in state.pools]
            each = n // len(drawn)
            g = min(len(pool) for pool in drawn) // each
            return np.concatenate([pool[: g * each].reshape(g, each) for pool in drawn], axis=1)
        G, U = self.size(state, n), len(state.candidates)
        return state.rng.permutation(U)[: U // G * G].reshape(-1, G)

    def _conditioning(self, state: QueryState, groups: np.ndarray) -> Conditioning:
        if not self.needs_port:
            features = state.labelled_features, state.features
            return last_layer_conditioning(*features, groups, state.num_classes, bias=state.has_bias())
        ids, inputs = state.labelled.ids, state.inputs
        labelled = Examples(len(ids), lambda rows: inputs(ids[rows]))
        pool = state.candidates
        return kernel_conditioning(state.gradients, labelled, lambda at: inputs(pool[at]), groups, state.progress)


def apart(scores: np.ndarray) -> np.ndarray:
    """Return scores in the same order, no two alike and none 0, so that each group is asked for as a whole.

    Args:
        scores: of the groups ``[g]``, at least 0.

    """
    apart, before = np.empty(len(scores)), 0.0
    for at in np.argsort(scores, kind="stable"):
        before = max(float(scores[at]), float(np.nextafter(before, np.inf)))
        apart[at] = before
    return apart


def figures(conditioning: Conditioning, scores: np.ndarray) -> dict[str, float]:
    """Return what a query is judged by: how far apart the scores are, and within what.

    Args:
        conditioning: of the groups.
        scores: theirs ``[g]``.

    """
    least, median, most = (float(value) for value in np.quantile(scores, (0, 0.5, 1)))
    return {
        "groups": float(len(scores)),
        "group_size": float(conditioning.bordered.corners.shape[-1]),
        "eigenvalue": float(conditioning.index),
        "rank_bound": float(conditioning.bound),
        "labelled_eigenvalue": conditioning.labelled,
        "group_score_least": least,
        "group_score_median": median,
        "group_score_most": most,
        "rounding_score": conditioning.floor,
        "rounding_share": float((scores <= conditioning.floor).mean()),
    }


CONVERGENCE: tuple[ConvergenceRateControl, ...] = (
    ConvergenceRateControl(
        "crc",
        "groups with which the labelled set's last-layer kernel is conditioned best (convergence rate control)",
    ),
    ConvergenceRateControl("crc-1", "as crc, candidates one by one", group=1),
    ConvergenceRateControl("crc-2", "as crc, in groups of 2", group=2),
    ConvergenceRateControl("crc-5", "as crc, in groups of 5", group=5),
    ConvergenceRateControl("crc-10", "as crc, in groups of 10", group=10),
    ConvergenceRateControl("crc-whole", "as crc, in groups as large as the query", group="whole"),
    ConvergenceRateControl("crc-all", "as crc, by the kernel of all layers (or of kernel.layers)", needs_port=True),
    ConvergenceRateControl(
        "crc-positive",
        "as crc, by the published λ⁺_min, the smallest eigenvalue above 0, which does not see copies",
        rule="positive",
    ),
)
