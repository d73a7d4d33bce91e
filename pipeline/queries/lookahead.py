"""Look-ahead strategies: how would the network change if a candidate were labelled and it were retrained?"""

from dataclasses import dataclass

from linearize import CRITERIA, HALFWAY, Choice, Mode
from pipeline.queries.base import (
    LookAheadOptions,
    QueryState,
    Selection,
    check_count,
    select_in_order,
    select_top,
)

CANDIDATES_A_COLUMN = 450
"""U/n where n columns of Θ(U,U) take as long as all of it; measured: U = 5000 and 11 columns, 1500 and 3, on a CPU."""


@dataclass(frozen=True)
class LookAheadStrategy:
    """Query where a criterion of the linearised network is highest.  Source: look-ahead paper, algorithm 1.

    Args:
        name, description, source: as of every strategy.
        criterion: a key of ``linearize.CRITERIA`` or ``linearize.HALFWAY``.
        mode: see ``linearize.Mode``; as the run says when absent.

    """

    name: str
    description: str
    source: str
    criterion: str
    mode: Mode | None = None
    needs_port: bool = True

    @property
    def needs_S(self) -> bool:
        """Whether its criterion cannot do without Θ(U,U)."""
        return self.criterion not in HALFWAY

    def takes_S(self, options: LookAheadOptions, answers: int, U: int) -> bool:
        """Tell whether Θ(U,U) is worth computing for so many answers, imagined or true, between two trainings.

        A criterion of f_lin alone needs one column of it an answer, and all of it where that is faster.
        """
        columns = 0 if self.mode_of(options) == "top" else answers
        return self.needs_S or columns * CANDIDATES_A_COLUMN > U

    def mode_of(self, options: LookAheadOptions) -> Mode:
        """Return how it chooses a batch: as its name says, else as the run does."""
        return self.mode or options.mode or "top"

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose ``n`` candidates before any of them is answered; in the mode ``sequential`` as in ``top``."""
        check_count(state.candidates, n)
        if self.mode_of(state.options) == "greedy":
            return select_in_order(state.candidates, self.choose(state, n).ids)
        options = state.options
        scores = state.look_ahead.scores(self.criterion, options.reference, options.distance or "outputs")
        return select_top(state.candidates, scores, n)

    def choose(self, state: QueryState, n: int) -> Choice:
        """Choose ``n`` of the candidates that are left, by position, in view of the answers so far."""
        options = state.options
        distance = options.distance or "outputs"
        return state.look_ahead.choose(n, self.criterion, self.mode_of(options), options.reference, distance)


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
_MODES: dict[Mode, str] = {
    "greedy": "one by one, each as if answered by its likeliest label",
    "sequential": "one by one, each in view of the answers so far",
}
"""Modes that a criterion is offered in under a name of its own, NAME-MODE."""


def _strategies() -> list[LookAheadStrategy]:
    sources = {name: criterion.source for name, criterion in (*CRITERIA.items(), *HALFWAY.items())}
    top = [LookAheadStrategy(name, _DESCRIPTIONS[name], source, name) for name, source in sources.items()]
    batch = [
        LookAheadStrategy(f"{name}-{mode}", f"{_DESCRIPTIONS[name]}, {how}", sources[name], name, mode)
        for mode, how in _MODES.items()
        for name in sources
    ]
    return [*top, *batch]


LOOK_AHEAD = tuple(_strategies())
