"""What a network asks next, in view of every answer so far: kept in step with the record, whatever is taken back."""

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from common.losses import get_loss
from pipeline.queries import QueryState, QueryStrategy
from pipeline.queries.validated_query import ValidatedSequentialQuery
from pipeline.run.stages.score import Scores

OPEN = -2
"""Stands for the label of a sample that is asked about and not answered yet."""
LEFT_OUT = -1
"""Stands for the label of a sample that nobody could label, or on which people differ."""


class Next(NamedTuple):
    """What to ask.

    Args:
        ids: samples, best first; fewer than wanted where the candidates are used up.
        scores: theirs.
        following: samples that are likely to be asked after them.
        milliseconds: that choosing them took, with the answers since the last choice.

    """

    ids: list[int]
    scores: list[float]
    following: list[int]
    milliseconds: float


class Likely(NamedTuple):
    """Candidates that the network takes for one class.

    Args:
        ids: the likeliest first ``[k]``.
        probabilities: of that class ``[k]``.

    """

    ids: list[int]
    probabilities: list[float]


class Query(Protocol):
    """A query that takes answers in."""

    following: list[int]

    def choose(self, n: int) -> tuple[list[int], list[float]]:
        """Return the next ``n`` samples and their scores."""
        ...

    def observe(self, sample: int, label: int) -> None:
        """Take an answer in."""
        ...

    def leave_out(self, sample: int) -> None:
        """Choose without a sample."""
        ...


class Ranked:
    """A ranking that no answer changes, as a query that takes answers in.

    Args:
        scores: of the candidates.

    """

    def __init__(self, scores: Scores) -> None:
        order = np.argsort(-scores.scores, kind="stable")
        self._left = dict(zip(scores.candidates[order].tolist(), scores.scores[order].tolist(), strict=True))
        self.following: list[int] = []

    def choose(self, n: int) -> tuple[list[int], list[float]]:
        """Return the ``n`` highest that are left."""
        ranked = list(self._left.items())
        self.following = [sample for sample, _ in ranked[n : n + 4]]
        return [sample for sample, _ in ranked[:n]], [score for _, score in ranked[:n]]

    def observe(self, sample: int, label: int) -> None:
        """Drop an answered sample."""
        self._left.pop(sample, None)

    def leave_out(self, sample: int) -> None:
        """Drop a sample."""
        self._left.pop(sample, None)

    def fork(self) -> "Ranked":
        """Return an independent one."""
        other = object.__new__(Ranked)
        other._left, other.following = dict(self._left), list(self.following)
        return other


class Asking:
    """One network's questions.

    Args:
        strategy: who chooses.
        state: of the cycle; its linearised network, if it has one, is kept to begin again from.
        scores: what stage ``score`` made, for strategies that rank once.
        size: samples of one query.
        sequential: whether the strategy chooses anew in view of the answers.

    """

    def __init__(self, strategy: QueryStrategy, state: QueryState, scores: Scores, size: int, sequential: bool) -> None:
        self._strategy, self._state, self._scores = strategy, state, scores
        self._size, self._sequential = size, sequential
        self._stream = state.rng.bit_generator.state
        self._told: dict[int, int] = {}
        self._candidates = set(map(int, state.candidates))
        self._query = self._opened()

    def choose(self, record: Mapping[int, int]) -> Next:
        """Choose what to ask next.

        Args:
            record: every sample that was asked about since the labelled set of this network, with its label,
                ``LEFT_OUT`` or ``OPEN``.

        Raises:
            RunFailedError: the strategy failed.

        """
        started = time.perf_counter()
        self._follow(record)
        pending = [sample for sample, label in record.items() if label == OPEN and sample in self._candidates]
        query = self._without(pending) if pending else self._query
        ids, scores = query.choose(self._size)
        return Next(ids, scores, query.following, (time.perf_counter() - started) * 1e3)

    def likely(self, record: Mapping[int, int], label: int, n: int) -> Likely:
        """Return the candidates that the network takes for a class, among those that nobody was asked about.

        Args:
            record: as of ``choose``.
            label: the class.
            n: how many at most.

        """
        self._follow(record)
        if label >= self._state.num_classes or not len(self._state.candidates):
            return Likely([], [])  # a class that was added since, or nothing that could be of it
        probabilities = self._probabilities()
        asked = np.isin(self._state.candidates, list(record))
        of_class = np.flatnonzero((probabilities.argmax(1) == label) & ~asked)
        best = of_class[np.argsort(-probabilities[of_class, label], kind="stable")][:n]
        return Likely(self._state.candidates[best].tolist(), probabilities[best, label].tolist())

    def predictions(self, samples: Sequence[int]) -> dict[int, tuple[int, float]]:
        """Return the likeliest class of candidates and its probability; other samples are left out.

        Args:
            samples: ids, in the order wanted.

        """
        at = {int(self._state.candidates[n]): n for n in np.flatnonzero(np.isin(self._state.candidates, samples))}
        known = [sample for sample in samples if sample in at]
        if not known:
            return {}
        probabilities = self._probabilities(np.array([at[sample] for sample in known]))  # [k, C]
        best = zip(probabilities.argmax(1).tolist(), probabilities.max(1).tolist(), strict=True)
        return dict(zip(known, best, strict=True))

    def _probabilities(self, positions: np.ndarray | None = None) -> np.ndarray:
        outputs = self._query.outputs() if isinstance(self._query, ValidatedSequentialQuery) else None
        outputs = self._state.outputs if outputs is None else outputs
        return get_loss(self._state.loss).probabilities.of(outputs if positions is None else outputs[positions])

    def _follow(self, record: Mapping[int, int]) -> None:
        """Tell the query what is new; where something that it was told does not hold any more, begin again."""
        C = self._state.num_classes  # a class that was added since says nothing to this network
        settled = {
            sample: label if label < C else LEFT_OUT
            for sample, label in record.items()
            if label != OPEN and sample in self._candidates
        }
        if any(settled.get(sample) != label for sample, label in self._told.items()):
            self._told, self._query = {}, self._opened()
        for sample, label in settled.items():
            if sample not in self._told:
                self._tell(self._query, sample, label)
                self._told[sample] = label

    def _tell(self, query: Query, sample: int, label: int) -> None:
        if label == LEFT_OUT:
            query.leave_out(sample)
        else:
            query.observe(sample, label)

    def _without(self, pending: Sequence[int]) -> Query:
        """Return a query in this one's state that does not choose what others are looking at."""
        forked: ValidatedSequentialQuery | Ranked | None = self._query.fork()
        query = forked or self._opened()
        if forked is None:  # the strategy's own query cannot be forked: another one is told the same
            for sample, label in self._told.items():
                self._tell(query, sample, label)
        for sample in pending:
            query.leave_out(sample)
        return query

    def _opened(self) -> ValidatedSequentialQuery | Ranked:
        if not self._sequential or not len(self._state.candidates):
            return Ranked(self._scores)
        self._state.rng.bit_generator.state = self._stream
        return ValidatedSequentialQuery(self._strategy, self._state.opened())
