"""Query strategies by name; one family a file."""

from pipeline.errors import PipelineError
from pipeline.queries.base import QueryState, QueryStrategy, Selection, select_top
from pipeline.queries.lookahead import LOOK_AHEAD
from pipeline.queries.random_ import Random
from pipeline.queries.uncertainty import UNCERTAINTY

_ALL: tuple[QueryStrategy, ...] = (*LOOK_AHEAD, Random(), *UNCERTAINTY)
STRATEGIES = {strategy.name: strategy for strategy in _ALL}

__all__ = ["STRATEGIES", "QueryState", "QueryStrategy", "Selection", "get_strategy", "select_top"]


def get_strategy(name: str) -> QueryStrategy:
    """Look a strategy up by name.

    Raises:
        PipelineError: the name is not registered; the message lists those that are.

    """
    if name not in STRATEGIES:
        raise PipelineError(f"expected one of {', '.join(STRATEGIES)}; got {name!r}")
    return STRATEGIES[name]
