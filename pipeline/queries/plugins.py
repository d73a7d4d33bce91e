"""Strategies that are not ours: from an installed package's entry point, or from a module in the working directory.

A look-ahead criterion, ``linearize.Criterion``, stands for the strategy that ranks by it, in all modes. What a strategy
brings is checked when it is loaded, and what it leaves out is filled in with the defaults of ``QueryStrategy``: nothing
after that asks what it has.
"""

import inspect
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from common.files import sha256_of
from common.naming import one_of
from common.settings import kept
from linearize import Criterion
from pipeline.errors import PipelineError
from pipeline.foreign import line_of
from pipeline.imports import imported
from pipeline.queries.base import QueryStrategy
from pipeline.queries.lookahead import LookAheadStrategy
from pipeline.queries.selection import Selection
from pipeline.queries.state import QueryState

GROUP = "ntk_lookahead.strategies"
_REQUIRED: dict[str, type] = {"name": str, "description": str, "source": str, "needs_port": bool}
_OPTIONAL: dict[str, Any] = {
    **dict.fromkeys(("needs_features", "needs_infinite", "needs_gradients", "needs_dropout"), bool),
    "needs_learner": str | None,
    **dict.fromkeys(("remembers", "takes_mode"), bool),
}
_METHODS: dict[str, str] = {
    "query": "state, n",
    "query_sizes": "options, size, answers",
    "sequential_query": "state",
    "covariance": "options, answers, candidates",
    "ranking": "options",
}
"""What a strategy does, and with which arguments; all but the first have a default."""


LONGEST = 500
"""Characters of what a strategy says of itself."""


class Adapted(QueryStrategy):
    """A strategy that does not inherit ``QueryStrategy``: what it brings, and the defaults for the rest.

    Args:
        brought: the strategy, checked.

    """

    def __init__(self, brought: Any) -> None:
        self.brought = brought
        for member in (*_REQUIRED, *_OPTIONAL, *_METHODS):
            if hasattr(brought, member):
                setattr(self, member, getattr(brought, member))

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose as what it brings does; an instance has that method itself, so that errors are of the user's line."""
        chosen: Selection = self.brought.query(state, n)
        return chosen


@cache
def offered() -> dict[str, tuple[EntryPoint, ...]]:
    """What installed packages offer, by name; nothing is imported."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=GROUP):
        if point not in found.get(point.name, ()):  # the same package found by two paths
            found[point.name] = (*found.get(point.name, ()), point)
    return found


def load_strategy(name: str, taken: Mapping[str, QueryStrategy], known: Iterable[str] = ()) -> QueryStrategy:
    """Load a strategy that a package offers under a name, or that ``MODULE:OBJECT`` names.

    Args:
        name: an entry point of the group ``ntk_lookahead.strategies``, or a module and what in it is the strategy: an
            object, a class, a factory without arguments or a look-ahead criterion. Modules are looked for in the
            working directory too.
        taken: the built-in strategies, whose names are not for others.
        known: names that may have been meant where there is none of this one, besides those that packages offer.

    Raises:
        PipelineError: no such strategy; it cannot be imported or made; it lacks something; its name is taken.

    """
    points = offered().get(name, ())
    if name in taken or len(points) > 1:
        packages = ", ".join(_package(point) for point in points)
        other = "another package" if name not in taken else "the built-in strategy"
        raise PipelineError(f"strategy {name!r} of {packages} has the name of {other}: rename or uninstall one")
    module, attribute = (
        (points[0].module, points[0].attr) if points else name.split(":") if name.count(":") == 1 else ("", "")
    )
    if not module or not attribute:
        names = dict.fromkeys([*(known or taken), *offered()])
        raise PipelineError(one_of(name, names, ", or MODULE:STRATEGY for one of your own"))
    strategy = _made(name, imported(f"strategy {name!r}", module, attribute))
    try:
        with kept():
            _check(name, strategy, taken)
            return strategy if isinstance(strategy, QueryStrategy) else Adapted(strategy)
    except PipelineError:
        raise
    except (Exception, SystemExit) as error:  # an attribute may be any code of theirs
        raise PipelineError(f"strategy {name!r} cannot be read: {line_of(error)}") from error


def strategy_sha256(strategy: QueryStrategy) -> str | None:
    """Hash of the file that defines a strategy, or None where there is none."""
    try:
        file = inspect.getsourcefile(_code_of(strategy))
        return sha256_of(Path(file)) if file else None
    except (TypeError, OSError):  # built in, or typed into an interpreter
        return None


def _code_of(strategy: QueryStrategy) -> Any:
    """Return the class or function that is not ours."""
    if isinstance(strategy, LookAheadStrategy):
        return inspect.unwrap(strategy.criterion.score)
    return type(strategy.brought if isinstance(strategy, Adapted) else strategy)


def _made(name: str, found: Any) -> Any:
    if isinstance(found, Criterion):
        return LookAheadStrategy(found)
    if not isinstance(found, type) and (hasattr(found, "query") or not callable(found)):
        return found
    try:
        with kept():
            return found()
    except (Exception, SystemExit) as error:
        raise PipelineError(
            f"strategy {name!r}: expected an object, or a class or factory that takes no arguments; "
            f"calling it failed: {line_of(error)}"
        ) from error


def _check(name: str, strategy: Any, taken: Mapping[str, QueryStrategy]) -> None:
    """Refuse, in one line, what cannot do what a run asks of a strategy."""
    for attribute, kind in (_REQUIRED | _OPTIONAL).items():
        if attribute in _OPTIONAL and not hasattr(strategy, attribute):
            continue
        value = getattr(strategy, attribute, None)
        no_line = isinstance(value, str) and (len(value.splitlines()) != 1 or len(value) > LONGEST)
        if not isinstance(value, kind) or no_line:
            what = "True or False" if kind is bool else "one line of text"
            came = repr(value) if hasattr(strategy, attribute) else "none"
            raise PipelineError(f"strategy {name!r}: expected an attribute {attribute!r}, {what}; got {came:.100}")
    for method, arguments in _METHODS.items():
        found = getattr(strategy, method, None)
        if method != "query" and found is None and not hasattr(strategy, method):
            continue
        if not callable(found) or (method == "query" and not _brings(strategy, method)):
            came = "none" if found is None or callable(found) else repr(found)
            raise PipelineError(f"strategy {name!r}: expected a method {method}({arguments}); got {came}")
    if _brings(strategy, "query_sizes") and not _brings(strategy, "sequential_query"):
        raise PipelineError(
            f"strategy {name!r}: expected a method sequential_query(state) beside query_sizes, for cycles of several "
            "queries; got none"
        )
    if strategy.name in taken:
        raise PipelineError(f"strategy {name!r} calls itself {strategy.name!r}, as a built-in does: rename it")


def _brings(strategy: Any, method: str) -> bool:
    """Whether a strategy has a method of its own, not the default."""
    found = getattr(strategy, method, None)
    return found is not None and getattr(found, "__func__", found) is not getattr(QueryStrategy, method)


def _package(point: EntryPoint) -> str:
    return f"the package {point.dist.name}" if point.dist else "an installed package"
