"""Stage ``sequential``: a cycle's queries one after another, each in view of all answers so far, without training."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from common.reading import read_json
from common.settings import kept
from pipeline.config import QuerySection
from pipeline.errors import PipelineError
from pipeline.files import write_json
from pipeline.foreign import line_of
from pipeline.queries import QueryState, QueryStrategy
from pipeline.queries.validated_query import ValidatedSequentialQuery
from pipeline.run.events import Event
from pipeline.run.former_names import existing

SEQUENTIAL = "sequential.json"


def query_sizes(strategy: QueryStrategy, query: QuerySection) -> tuple[int, ...]:
    """Return how many samples each query of a cycle asks for.

    Args:
        strategy: who chooses.
        query: what a cycle asks for.

    Raises:
        PipelineError: the strategy's sizes do not make up what a cycle asks for.

    """
    try:
        with kept():
            sizes = tuple(islice(strategy.query_sizes(query.look_ahead, query.size, query.answers), query.answers + 1))
        sound = all(type(size) is int and size > 0 for size in sizes) and sum(sizes) == query.answers
    except (Exception, SystemExit) as error:
        raise PipelineError(f"strategy {strategy.name!r}: query_sizes failed: {line_of(error)}") from error
    if not sound:
        raise PipelineError(
            f"strategy {strategy.name!r}: query_sizes: expected positive whole numbers that add up to {query.answers}, "
            f"got {sizes}"
        )
    return sizes


class TimedSequentialQuery:
    """The queries of a cycle, and what choosing them and taking the answers in takes.

    ``seconds`` is the wall-clock time that both have taken so far.

    Args:
        strategy: who chooses.
        state: the cycle's state, which stays what it is.

    """

    def __init__(self, strategy: QueryStrategy, state: QueryState) -> None:
        self._query = ValidatedSequentialQuery(strategy, state)
        self.seconds = 0.0

    def choose(self, n: int) -> tuple[list[int], list[float]]:
        """Return the next ``n`` samples to ask about, fewer where fewer are left, with their scores, best first."""
        with self._counted():
            return self._query.choose(n)

    def observe(self, sample: int, label: int) -> None:
        """Take an answer into account.

        Args:
            sample: the candidate's id.
            label: its class.

        """
        with self._counted():
            self._query.observe(sample, label)

    def leave_out(self, sample: int) -> None:
        """Choose from now on without a sample that got no answer.

        Args:
            sample: the candidate's id.

        """
        with self._counted():
            self._query.leave_out(sample)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started


def write_sequential(directory: Path, queries: Iterable[Event]) -> None:
    """Write what was asked, query by query.

    Args:
        directory: the stage's.
        queries: the cycle's events of that kind.

    """
    asked = [{"ids": event["ids"], "scores": event["scores"]} for event in queries]
    write_json(directory / SEQUENTIAL, {"queries": asked})


def read_sequential(directory: Path) -> list[tuple[list[int], list[float]]]:
    """Return what was asked, query by query, as samples and their scores."""
    queries = read_json(existing(directory, SEQUENTIAL))["queries"]
    return [(query["ids"], query["scores"]) for query in queries]
