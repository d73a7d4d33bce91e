"""Query strategies by name; one family a file."""

from pipeline.errors import PipelineError
from pipeline.queries.badge import Badge
from pipeline.queries.base import (
    LookAheadOptions,
    QueryState,
    QueryStrategy,
    Selection,
    select_in_order,
    select_top,
)
from pipeline.queries.coreset import CoreSet
from pipeline.queries.infinite import INFINITE
from pipeline.queries.lookahead import LOOK_AHEAD, LookAheadStrategy
from pipeline.queries.plugins import load_strategy, offered, strategy_sha256
from pipeline.queries.proxies import PROXIES
from pipeline.queries.random_ import Random
from pipeline.queries.uncertainty import UNCERTAINTY
from pipeline.queries.validated_query import validated_query

_ALL: tuple[QueryStrategy, ...] = (*LOOK_AHEAD, *PROXIES, *INFINITE, Random(), *UNCERTAINTY, CoreSet(), Badge())
STRATEGIES = {strategy.name: strategy for strategy in _ALL}
"""The built-in ones; ``get_strategy`` knows those of others too."""

__all__ = [
    "STRATEGIES",
    "LookAheadOptions",
    "LookAheadStrategy",
    "QueryState",
    "QueryStrategy",
    "Selection",
    "get_strategy",
    "installed_strategies",
    "select_in_order",
    "select_top",
    "strategy_sha256",
    "validated_query",
]


def get_strategy(name: str) -> QueryStrategy:
    """Look a strategy up: a built-in one, one that an installed package offers, or ``MODULE:OBJECT``.

    Raises:
        PipelineError: there is none of that name, or it cannot be used; one line that says why.

    """
    if name in STRATEGIES and name not in offered():
        return STRATEGIES[name]
    return load_strategy(name, STRATEGIES)


def installed_strategies() -> tuple[dict[str, QueryStrategy], dict[str, str]]:
    """Find all that can be chosen by name: the strategies, and why each of the others cannot be used."""
    usable, refused = dict(STRATEGIES), {}
    for name in offered():
        try:
            usable[name] = get_strategy(name)
        except PipelineError as error:
            refused[name] = str(error)
            usable.pop(name, None)
    return usable, refused
