"""Look-ahead strategies: how would the network change if a candidate were labelled and it were retrained?"""

from dataclasses import dataclass

from linearize import CRITERIA
from pipeline.queries.base import QueryState, Selection, select_top


@dataclass(frozen=True)
class LookAheadStrategy:
    """Query where a criterion of the linearised network is highest.  Source: look-ahead paper, algorithm 1."""

    name: str
    description: str
    source: str
    needs_port: bool = True

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose the ``n`` candidates with the highest look-ahead score."""
        return select_top(state.candidates, state.look_ahead.scores(self.name), n)


_DESCRIPTIONS = {
    "mlmoc": "largest predicted change of the pool's outputs",
    "mlmoc-flips": "most predicted classes of the pool that would flip",
    "emoc": "largest predicted change of the pool's outputs, averaged over labels",
    "eer": "least entropy predicted for the pool, averaged over labels",
}

LOOK_AHEAD = tuple(
    LookAheadStrategy(name, _DESCRIPTIONS[name], criterion.source) for name, criterion in CRITERIA.items()
)
