"""Look-ahead strategies: how would the network change if a candidate were labelled and it were retrained?"""

from dataclasses import dataclass

from linearize import CRITERIA, HALFWAY, Choice, LookAhead
from pipeline.queries.base import Chosen, Covariance, QueryStrategy, Ranking, SequentialQuery
from pipeline.queries.selection import Selection, check_count, select_in_order, select_top
from pipeline.queries.state import LookAheadOptions, QueryState

CANDIDATES_A_COLUMN = 450
"""U/n where n columns of Θ(U,U) take as long as all of it; measured: U = 5000 and 11 columns, 1500 and 3, on a CPU."""
OF_F_LIN = tuple(HALFWAY)
"""Criteria that read the linearised network's outputs alone; the others cannot do without Θ(U,U)."""


@dataclass(frozen=True)
class LookAheadStrategy(QueryStrategy):
    """Query where a criterion of the linearised network is highest.  Source: look-ahead paper, algorithm 1.

    Args:
        name, description, source: as of every strategy.
        criterion: a key of ``linearize.CRITERIA`` or ``linearize.HALFWAY``.

    """

    name: str
    description: str
    source: str
    criterion: str
    needs_port = True
    takes_mode = True

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose ``n`` candidates before any of them is answered; in the mode ``sequential`` as in ``top``."""
        check_count(state.candidates, n)
        service, options = state.look_ahead, state.options
        if options.mode == "greedy":
            selection = select_in_order(state.candidates, self.choose(service, n, options).ids)
        else:
            scores = service.scores(self.criterion, options.reference, options.distance)
            selection = select_top(state.candidates, scores, n)
        judged = service.score_diagnostics(
            self.criterion, options.reference, options.distance, scores=selection.candidate_scores
        )
        return selection._replace(figures={"common_share": judged.common_share})

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
        if self.criterion not in OF_F_LIN:
            return "required"
        columns = 0 if options.mode == "top" else answers
        return "helpful" if columns * CANDIDATES_A_COLUMN > candidates else "none"

    def ranking(self, options: LookAheadOptions) -> Ranking:
        """Return its criterion, measured as the run says."""
        return Ranking(self.criterion, options.reference, options.distance)

    def choose(self, service: LookAhead, n: int, options: LookAheadOptions) -> Choice:
        """Choose ``n`` of the candidates that are left, by position, in view of the answers so far."""
        return service.choose(n, self.criterion, options.mode, options.reference, options.distance)


class _LookAheadQuery:
    """A linearised network of its own that chooses queries and takes the answers to them into account."""

    def __init__(self, strategy: LookAheadStrategy, state: QueryState) -> None:
        self._strategy, self._options = strategy, state.options
        self._service, self._candidates = state.own_look_ahead(), state.candidates
        self._positions = {int(sample): position for position, sample in enumerate(state.candidates)}

    def choose(self, n: int) -> Chosen:
        choice = self._strategy.choose(self._service, n, self._options)
        return Chosen(self._candidates[choice.ids], choice.scores)

    def observe(self, sample: int, label: int) -> None:
        self._service.observe(self._positions[sample], label)


_DESCRIPTIONS = {
    "mlmoc": "largest predicted change of the pool's outputs",
    "mlmoc-flips": "most predicted classes of the pool that would flip",
    "emoc": "largest predicted change of the pool's outputs, averaged over labels",
    "eer": "least entropy predicted for the pool, averaged over labels",
    "emoc-flips": "most predicted classes of the pool that would flip, averaged over labels",
    "expected-accuracy": "largest gain in the accuracy that the network expects of itself on the pool",
    "margin-variance": "small margin, and most variance taken from points of small margin",
    "margin-influence": "small margin, and largest share taken of the variance of points of small margin",
    "margin-lin": "smallest margin once the network is trained to convergence",
    "entropy-lin": "highest entropy once the network is trained to convergence",
    "least-confidence-lin": "lowest top probability once the network is trained to convergence",
}

LOOK_AHEAD = tuple(
    LookAheadStrategy(name, _DESCRIPTIONS[name], criterion.source, name)
    for name, criterion in (*CRITERIA.items(), *HALFWAY.items())
)
