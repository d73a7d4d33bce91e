"""Query strategies by name; one family a file."""

from pipeline.queries.base import Chosen, Covariance, QueryStrategy, Ranking, SequentialQuery
from pipeline.queries.plugins import strategy_sha256
from pipeline.queries.registry import (
    STRATEGIES,
    Resolved,
    get_strategy,
    installed_strategies,
    resolve,
    strategy_code,
)
from pipeline.queries.selection import Selection, select_in_order, select_top
from pipeline.queries.state import LookAheadOptions, QueryState
from pipeline.queries.validated_query import validated_query

__all__ = [
    "STRATEGIES",
    "Chosen",
    "Covariance",
    "LookAheadOptions",
    "QueryState",
    "QueryStrategy",
    "Ranking",
    "Resolved",
    "Selection",
    "SequentialQuery",
    "get_strategy",
    "installed_strategies",
    "resolve",
    "select_in_order",
    "select_top",
    "strategy_code",
    "strategy_sha256",
    "validated_query",
]
