"""Look-ahead strategies: how would the network change if a candidate were labelled and it were retrained?"""

from copy import copy
from dataclasses import dataclass

import numpy as np

from linearize import CRITERIA, Choice, Criterion, LookAhead
from pipeline.queries.base import Chosen, Covariance, QueryStrategy, Ranking, SequentialQuery
from pipeline.queries.selection import Selection, check_count, select_in_order, select_top
from pipeline.queries.state import LookAheadOptions, QueryState

CANDIDATES_A_COLUMN = 450
"""U/n where n columns of Θ(U,U) take as long as all of it; measured: U = 5000 and 11 columns, 1500 and 3, on a CPU."""
OF_F_LIN = tuple(name for name, criterion in CRITERIA.items() if criterion.needs == "mean")
"""Criteria that read the linearised network's outputs alone; the others cannot do without Θ(U,U)."""


@dataclass(frozen=True)
class LookAheadStrategy(QueryStrategy):
    """Query where a criterion of the linearised network is highest.

    Source: Mohamadi, Bae & Sutherland 2022, algorithm 1.

    Args:
        criterion: which; name, description and source are its own.

    """

    criterion: Criterion
    needs_port = True
    takes_mode = True

    @property
    def name(self) -> str:  # type: ignore[override]
        """What users call it."""
        return self.criterion.name

    @property
    def description(self) -> str:  # type: ignore[override]
        """Half a line for ``pipeline list strategies``."""
        return self.criterion.description

    @property
    def source(self) -> str:  # type: ignore[override]
        """Whom to cite."""
        return self.criterion.source

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose ``n`` candidates before any of them is answered; in the mode ``sequential`` as in ``top``."""
        check_count(state.candidates, n)
        service, options = state.look_ahead, state.options
        if options.mode == "greedy":
            selection = select_in_order(state.candidates, self.choose(service, n, options).ids)
        else:
            selection = select_top(state.candidates, service.scores(self.criterion, options.measure, best=n), n)
        judged = service.score_diagnostics(self.criterion, options.measure, selection.candidate_scores)
        figures = {"common_share": judged.common_share} | self._of_sample(service, n, options)
        return selection._replace(figures=figures)

    def _of_sample(self, service: LookAhead, n: int, options: LookAheadOptions) -> dict[str, float]:
        """How exact the scores are, where a sample stands for the candidates."""
        found = service.estimate(self.criterion, options.measure)
        if found is None:
            return {}
        near = ~found.exact & (found.scores > 0)
        error = float(np.median(found.error[near] / found.scores[near])) if near.any() else 0.0
        return {
            "references": options.references or 0,
            "exact_scores": int(found.exact.sum()),
            "score_error": error,
            "undecided": found.undecided(n),
        }

    def query_sizes(self, options: LookAheadOptions, size: int, answers: int) -> tuple[int, ...]:
        """Return queries of ``size``, of 1 in the mode ``sequential``: answers count before the next is chosen."""
        each = 1 if options.mode == "sequential" else size
        whole, rest = divmod(answers, each)
        return (each,) * whole + (rest,) * bool(rest)

    def sequential_query(self, state: QueryState) -> SequentialQuery:
        """Open a linearised network that takes the answers in."""
        return _LookAheadQuery(self, state)

    def covariance(self, options: LookAheadOptions, answers: int, candidates: int) -> Covariance:
        """Tell whether Θ(U,U) is worth computing for so many answers between two trainings.

        A criterion of f_lin alone needs one column of it an answer, and all of it where that is faster.
        """
        if self.criterion.needs == "covariance":
            return "sampled" if options.references and self.criterion.sums(options.measure) else "required"
        columns = 0 if options.mode == "top" else answers
        return "helpful" if columns * CANDIDATES_A_COLUMN > candidates else "none"

    def ranking(self, options: LookAheadOptions) -> Ranking:
        """Return its criterion, measured as the run says."""
        return Ranking(self.criterion, options.measure)

    def choose(self, service: LookAhead, n: int, options: LookAheadOptions) -> Choice:
        """Choose ``n`` of the candidates that are left, by position, in view of the answers so far.

        Args:
            service: the linearised network, with the answers so far.
            n: how many.
            options: mode and measure.

        """
        return service.choose(n, self.criterion, options.mode, options.measure)


class _LookAheadQuery:
    """A linearised network of its own that chooses queries and takes the answers to them into account."""

    def __init__(self, strategy: LookAheadStrategy, state: QueryState) -> None:
        self._strategy, self._options = strategy, state.options
        self._service, self._candidates = state.own_look_ahead(), state.candidates
        self._positions = {int(sample): position for position, sample in enumerate(state.candidates)}

    def choose(self, n: int) -> Chosen:
        choice = self._strategy.choose(self._service, n, self._options)
        return Chosen(self._candidates[choice.ids], choice.scores, self._candidates[choice.following])

    def fork(self) -> "_LookAheadQuery":
        other = copy(self)
        other._service = self._service.fork()
        return other

    def outputs(self) -> np.ndarray:
        return self._service.outputs()

    def observe(self, sample: int, label: int) -> None:
        self._service.observe(self._positions[sample], label)

    def leave_out(self, sample: int) -> None:
        self._service.leave_out(self._positions[sample])


LOOK_AHEAD = tuple(LookAheadStrategy(criterion) for criterion in CRITERIA.values())
