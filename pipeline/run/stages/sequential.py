"""Stage ``interview``: a cycle's queries one after another, each in view of all answers so far, without training."""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.config import RunConfig
from pipeline.files import write_json
from pipeline.queries import LookAheadStrategy, QueryState, get_strategy
from pipeline.run.events import Event

SEQUENTIAL = "interview.json"


def query_sizes(config: RunConfig) -> tuple[int, ...]:
    """Return how many samples each query of a cycle asks for.

    One query of all, unless the strategy looks ahead: then its answers count before the next query, without training.
    """
    query = config.query
    strategy = get_strategy(query.strategy)
    if not isinstance(strategy, LookAheadStrategy):
        return (query.answers,)
    size = 1 if strategy.mode_of(query.look_ahead) == "sequential" else query.size
    whole, rest = divmod(query.answers, size)
    return (size,) * whole + (rest,) * bool(rest)


class SequentialQuery:
    """A linearised network that chooses queries and takes the answers to them into account.

    ``seconds`` is the wall-clock time that both have taken so far.

    Args:
        state: the cycle's state; its look-ahead is answered, so it is not to be used for anything else afterwards.
        strategy: who chooses.

    """

    def __init__(self, state: QueryState, strategy: LookAheadStrategy) -> None:
        self._state, self._strategy = state, strategy
        self.seconds = 0.0
        self._positions = {int(sample): position for position, sample in enumerate(state.candidates)}

    def choose(self, n: int) -> tuple[list[int], list[float]]:
        """Return the next ``n`` samples to ask about, fewer where fewer are left, with their scores, best first."""
        left = len(self._positions) - len(self._state.look_ahead.observed)
        if not left:
            return [], []
        with self._counted():
            choice = self._strategy.choose(self._state, min(n, left))
        return [int(self._state.candidates[p]) for p in choice.ids], choice.scores.tolist()

    def observe(self, sample: int, label: int) -> None:
        """Take an answer into account."""
        with self._counted():
            self._state.look_ahead.observe(self._positions[sample], label)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started


def write_sequential(directory: Path, queries: Iterable[Event]) -> None:
    """Write what was asked, query by query."""
    asked = [{"ids": event["ids"], "scores": event["scores"]} for event in queries]
    write_json(directory / SEQUENTIAL, {"queries": asked})


def read_sequential(directory: Path) -> list[tuple[list[int], list[float]]]:
    """Return what was asked, query by query, as samples and their scores."""
    queries = json.loads((directory / SEQUENTIAL).read_text())["queries"]
    return [(query["ids"], query["scores"]) for query in queries]
