"""The baseline that every other strategy is measured against."""

from pipeline.queries.base import QueryStrategy
from pipeline.queries.selection import Selection, select_top
from pipeline.queries.state import QueryState


class Random(QueryStrategy):
    """Uniform without replacement: scores are independent uniform numbers."""

    name = "random"
    description = "uniform from the candidates"
    source = "baseline"
    needs_port = False

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose ``n`` candidates uniformly."""
        return select_top(state.candidates, state.rng.random(len(state.candidates)), n)
