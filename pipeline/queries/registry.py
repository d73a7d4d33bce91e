"""Query strategies by name, and the one place that turns what users call a query into a strategy and a mode."""

from typing import Literal, NamedTuple, get_args

from linearize import Mode
from pipeline.errors import PipelineError
from pipeline.queries.albl import ALBL
from pipeline.queries.badge import Badge
from pipeline.queries.bait import Bait
from pipeline.queries.bald import Bald
from pipeline.queries.base import QueryStrategy
from pipeline.queries.batchbald import BatchBald
from pipeline.queries.coreset import CoreSet
from pipeline.queries.crc import CONVERGENCE
from pipeline.queries.dropquery import DropQuery
from pipeline.queries.dynamics import DYNAMICAL
from pipeline.queries.egl import ExpectedGradientLength, ExpectedGradientLengthOfTheLastLayer
from pipeline.queries.epig import Epig
from pipeline.queries.falcun import Falcun
from pipeline.queries.infinite import INFINITE
from pipeline.queries.lcmd import LargestClusterMaximumDistance
from pipeline.queries.ll4al import LL4AL
from pipeline.queries.lookahead import LOOK_AHEAD, OF_F_LIN
from pipeline.queries.maxdet import MaxDet
from pipeline.queries.plugins import load_strategy, offered
from pipeline.queries.probcover import ProbCover
from pipeline.queries.proxies import PROXIES
from pipeline.queries.random_ import Random
from pipeline.queries.typiclust import TypiClust
from pipeline.queries.uncertainty import UNCERTAINTY

_BY_DROPOUT = (Bald(), BatchBald(), Epig())
_BY_THE_LAST_LAYER = (Falcun(), TypiClust(), ProbCover(), DropQuery(), Bait(), ExpectedGradientLengthOfTheLastLayer())
_BY_ALL_LAYERS = (LargestClusterMaximumDistance(), MaxDet(), ExpectedGradientLength())
_ALL: tuple[QueryStrategy, ...] = (
    *(*LOOK_AHEAD, *PROXIES, *INFINITE, *DYNAMICAL, *_BY_ALL_LAYERS, *_BY_THE_LAST_LAYER, *_BY_DROPOUT),
    *CONVERGENCE,
    *(Random(), *UNCERTAINTY, ALBL, CoreSet(), LL4AL(), Badge()),
)
STRATEGIES = {strategy.name: strategy for strategy in _ALL}
"""The built-in ones; ``get_strategy`` knows those of others too."""
MODES: tuple[Mode, ...] = get_args(Mode)
SUFFIXES: tuple[Mode, ...] = ("greedy", "sequential")
"""Modes that may be said in a strategy's name, NAME-MODE."""

On = Literal["network", "linearized"]
"""Whose outputs an uncertainty is read of."""


class Resolved(NamedTuple):
    """Who chooses a query, and how: the one form that everything after the configuration sees.

    Args:
        name: what runs and reports call it.
        strategy: who.
        mode: how several are chosen at once; ``top`` where nothing is said. Only some strategies pay attention.

    """

    name: str
    strategy: QueryStrategy
    mode: Mode


def get_strategy(name: str) -> QueryStrategy:
    """Look a strategy up: a built-in one, one that an installed package offers, or ``MODULE:OBJECT``.

    Args:
        name: of the strategy.

    Raises:
        PipelineError: there is none of that name, or it cannot be used; one line that says why.

    """
    if name in STRATEGIES and name not in offered():
        return STRATEGIES[name]
    modes = (f"{base}-{mode}" for base, one in STRATEGIES.items() if one.takes_mode for mode in SUFFIXES)
    said = next((mode for mode in SUFFIXES if mode[:4] in name), None)  # only then are names with modes meant
    return load_strategy(name, STRATEGIES, [*STRATEGIES, *(modes if said else ())])


def resolve(name: str, mode: Mode | None = None, on: On | None = None) -> Resolved:
    """Return which strategy and mode are meant by a name, which may end in a mode, and by what is said beside it.

    Args:
        name: of a strategy, or ``NAME-greedy`` or ``NAME-sequential`` of one that takes modes.
        mode: how several are chosen; what the name says where absent.
        on: whose outputs ``entropy``, ``margin`` and ``least-confidence`` read; ``margin`` on the ``linearized``
            network's is ``margin-lin``.

    Raises:
        PipelineError: there is no such strategy, its name says another mode, or it reads no outputs of that network.

    """
    if on is not None:
        name = _on(name, on)
    strategy, said = _split(name)
    if said and mode not in (None, said):
        expected = f"expected {said!r}, as the strategy {name!r} says, got {mode!r}"
        raise PipelineError(f"mode: {expected}: leave one of them out")
    return Resolved(name, strategy, said or mode or "top")


def strategy_code(name: str) -> str | None:
    """Return the ``MODULE:OBJECT`` that loading a strategy would import, or None for a built-in one; import nothing.

    Args:
        name: as of ``resolve``.

    """
    for candidate in (name, *(name.removesuffix(f"-{mode}") for mode in SUFFIXES)):
        if points := offered().get(candidate):
            return f"{points[0].module}:{points[0].attr}"
        if candidate in STRATEGIES:
            return None
    return min((name.removesuffix(f"-{mode}") for mode in SUFFIXES), key=len) if ":" in name else None


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


def _split(name: str) -> tuple[QueryStrategy, Mode | None]:
    """Return the strategy of a name, and the mode that the name says."""
    for mode in SUFFIXES:
        base = name.removesuffix(f"-{mode}")
        if base != name and name not in offered() and (base in STRATEGIES or base in offered() or ":" in base):
            strategy = get_strategy(base)
            if strategy.takes_mode:
                return strategy, mode
    return get_strategy(name), None


def _on(name: str, outputs: On) -> str:
    """Return the name of the strategy that measures uncertainty on the network's or the linearised network's outputs.

    A name that says a mode is one of the latter: strategies of the network's own outputs have none.
    """
    base = next((name.removesuffix(f"-{mode}") for mode in SUFFIXES if name.endswith(f"-{mode}")), name)
    if outputs == "linearized" and f"{name}-lin" in OF_F_LIN:
        return f"{name}-lin"
    if base in OF_F_LIN if outputs == "linearized" else f"{name}-lin" in OF_F_LIN:
        return name
    names = ", ".join(one.removesuffix("-lin") for one in OF_F_LIN)
    raise PipelineError(f"on: expected {outputs!r} with one of {names}, got it with {name!r}")
