"""The look-ahead paper's other ways to foresee how a network would change: slower, or cruder, than the block update.

All three rank by MLMOC, Σ_x ‖f⁺(x) - f(x)‖₂ (eq. 13), with the likeliest label y' = argmax f(x'); they differ in f⁺.
"""

import numpy as np

from linearize import Measure
from linearize.direct_solve import scores_by_direct_solve
from pipeline.queries.base import QueryStrategy, Ranking
from pipeline.queries.selection import Selection, check_count, select_top
from pipeline.queries.state import LookAheadOptions, QueryState
from pipeline.retraining import NAIVE_EPOCHS, output_change

DEFAULT_CANDIDATES = 50
UNTRIED = -1.0
"""Score of a candidate that was not retrained with: below every change, which is at least 0."""


class _ByChange(QueryStrategy):
    """What all three rank by."""

    def ranking(self, options: LookAheadOptions) -> Ranking:
        """Return MLMOC from the trained network on, predicted in its own way."""
        return Ranking("mlmoc", Measure("network"), proxy=self.name)


class Naive(_ByChange):
    """Retrain the network with each candidate, for 15 epochs of SGD from the cycle's weights.

    Only a uniform sample of the candidates is tried, ``query.naive_candidates`` of them or as many as are asked for if
    that is more; the others score -1.  All trainings have the same SGD seed.  What trying all would have taken is
    extrapolated, and called so.
    """

    name = "naive"
    description = (
        f"largest real change of the pool's outputs after {NAIVE_EPOCHS} epochs, of a sample of the candidates"
    )
    source = "Mohamadi, Bae & Sutherland 2022, fig. 1a"
    needs_port = False

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose ``n`` of the candidates that were tried."""
        check_count(state.candidates, n)
        U = len(state.candidates)
        tried = min(max(state.options.naive_candidates or DEFAULT_CANDIDATES, n), U)
        sample = state.rng.choice(U, tried, replace=False)
        seed = int(state.rng.integers(2**63))
        scores, seconds = np.full(U, UNTRIED), []
        for done, position in enumerate(sample.tolist()):
            state.progress(done, tried)
            outcome = state.retrainer(
                seed,
                state.inputs(state.candidates[position : position + 1]),
                int(state.outputs[position].argmax()),
                epochs=NAIVE_EPOCHS,
                check=lambda done=done: state.progress(done, tried),  # type: ignore[misc]
            )
            scores[position] = output_change(state.outputs, outcome.outputs)
            seconds.append(outcome.seconds)
            if not done:
                state.progress.plan(_plan(tried, U, outcome.seconds))
        state.progress(tried, tried)
        return select_top(state.candidates, scores, n)._replace(figures=_figures(scores[sample], seconds, U))


def _plan(tried: int, U: int, seconds: float) -> str:
    return (
        f"naive: retraining with {tried} of {U} candidates, {seconds:.2g} s for the first, about {tried * seconds:.3g} "
        f"s; with all {U} it would be about {U * seconds:.3g} s (extrapolated)"
    )


def _figures(tried: np.ndarray, seconds: list[float], U: int) -> dict[str, float]:
    """What it took, and the figures that a run keeps of scores, of those alone that are changes."""
    change = float(tried.mean())
    mean = float(np.mean(seconds))
    return {
        "score_mean": change,
        "score_spread": float(tried.std()) / change if change else 0.0,
        "naive_candidates": len(seconds),
        "naive_seconds_per_candidate": mean,
        "naive_seconds_extrapolated": mean * U,
    }


class NoBlock(_ByChange):
    """Solve the linearised network's equation for every candidate.  Source: Mohamadi, Bae & Sutherland 2022, eq. 11."""

    name = "ntk-no-block"
    description = "as mlmoc, by a direct solve of eq. 11 for each candidate: the same ranking, slower"
    source = "Mohamadi, Bae & Sutherland 2022, fig. 1a"
    needs_port = True

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose the ``n`` candidates that ``mlmoc`` would choose."""
        check_count(state.candidates, n)
        service = state.look_ahead
        scores = scores_by_direct_solve(service.posterior, service.loss, state.progress)
        judged = service.score_diagnostics("mlmoc", Measure("network"), scores)
        return select_top(state.candidates, scores, n)._replace(figures={"common_share": judged.common_share})


class OneStep(_ByChange):
    """Take one SGD step on the candidate alone, at the run's peak learning rate.

    One backward pass of the candidate and one forward pass of the pool for each; at any time one set of weights.
    """

    name = "one-step"
    description = "largest change of the pool's outputs after one SGD step on the candidate"
    source = "Käding et al. 2016; Mohamadi, Bae & Sutherland 2022, fig. 1b"
    needs_port = False

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose ``n`` candidates."""
        check_count(state.candidates, n)
        U = len(state.candidates)
        scores = np.empty(U)
        for position, label in enumerate(state.outputs.argmax(1).tolist()):
            state.progress(position, U)
            after = state.retrainer.step(state.inputs(state.candidates[position : position + 1]), label)
            scores[position] = output_change(state.outputs, after)
        state.progress(U, U)
        return select_top(state.candidates, scores, n)


PROXIES = (Naive(), NoBlock(), OneStep())
