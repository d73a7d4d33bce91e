"""Look-ahead strategies: how would the network change if a candidate were labelled and it were retrained?"""

from dataclasses import dataclass
from typing import Literal

from linearize import CRITERIA, HALFWAY
from pipeline.queries.base import QueryState, Selection, check_count, select_in_order, select_top


@dataclass(frozen=True)
class LookAheadStrategy:
    """Query where a criterion of the linearised network is highest.  Source: look-ahead paper, algorithm 1.

    Args:
        name, description, source: as of every strategy.
        criterion: a key of ``linearize.CRITERIA`` or ``linearize.HALFWAY``.
        mode: ``top`` takes the highest scores as they are; ``greedy`` one after the other, each answered by its
            likeliest label before the next is scored, so that a batch repeats no information.

    """

    name: str
    description: str
    source: str
    criterion: str
    mode: Literal["top", "greedy"] = "top"
    needs_port: bool = True

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose ``n`` candidates."""
        check_count(state.candidates, n)
        if self.mode == "greedy":
            return select_in_order(state.candidates, state.look_ahead.query(n, self.criterion, "greedy"))
        return select_top(state.candidates, state.look_ahead.scores(self.criterion), n)


_DESCRIPTIONS = {
    "mlmoc": "largest predicted change of the pool's outputs",
    "mlmoc-flips": "most predicted classes of the pool that would flip",
    "emoc": "largest predicted change of the pool's outputs, averaged over labels",
    "eer": "least entropy predicted for the pool, averaged over labels",
    "margin-lin": "smallest margin once the network is trained to convergence",
    "entropy-lin": "highest entropy once the network is trained to convergence",
    "least-confidence-lin": "lowest top probability once the network is trained to convergence",
}
_GREEDY = ("mlmoc", "mlmoc-flips", "margin-lin", "entropy-lin")
"""Criteria that are offered in this mode too, as NAME-greedy."""


def _strategies() -> list[LookAheadStrategy]:
    sources = {name: criterion.source for name, criterion in (*CRITERIA.items(), *HALFWAY.items())}
    top = [LookAheadStrategy(name, _DESCRIPTIONS[name], source, name) for name, source in sources.items()]
    greedy = [
        LookAheadStrategy(f"{name}-greedy", f"{_DESCRIPTIONS[name]}, one by one", sources[name], name, "greedy")
        for name in _GREEDY
    ]
    return [*top, *greedy]


LOOK_AHEAD = tuple(_strategies())
