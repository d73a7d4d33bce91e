"""The contract of a query strategy: all that a run reads of one, and what it does where a strategy does not say.

A strategy that is not ours may inherit ``QueryStrategy`` or bring what it needs of it without doing so; see
``pipeline.queries.plugins``, which fills in the rest.
"""

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple, Protocol

import numpy as np

from linearize import Criterion, Measure
from pipeline.errors import PipelineError
from pipeline.queries.selection import Selection
from pipeline.queries.state import LookAheadOptions, QueryState

Covariance = Literal["none", "helpful", "sampled", "required"]
"""Whether a strategy reads S, which takes Θ(U,U): not at all; only since it is faster where it fits; or it must."""


class Ranking(NamedTuple):
    """By what a strategy ranks, so that real retraining can judge it.

    Args:
        criterion: a look-ahead criterion that ranks alike, or the name of one of ours.
        measure: how it measures change.
        proxy: what predicts the change in its place, a key of ``pipeline.fidelity.changes``; where absent, the block
            update.

    """

    criterion: str | Criterion
    measure: Measure = Measure()
    proxy: str | None = None


class Chosen(NamedTuple):
    """What a sequential query asks next.

    Args:
        ids: data-set-absolute, best first ``[n]``.
        scores: theirs ``[n]``.
        following: ids that are likely to be asked next, so that what is shown of them can be fetched before.

    """

    ids: np.ndarray
    scores: np.ndarray
    following: np.ndarray = np.empty(0, int)


class SequentialQuery(Protocol):
    """The queries of one cycle one after another, each in view of all answers so far, without training between.

    What it chooses may depend on the state that it was opened with and on the answers alone: a resumed one is told the
    answers again, and not asked again for what was chosen before.  The state's ``rng`` begins anew at every choice, at
    a place that the number of answers decides.  One that has a method ``leave_out(sample)`` is told of samples that got
    no answer; any other is asked for as many more as there are such samples.  One that has ``fork()`` returns an
    independent query in the same state, and one that has ``outputs()`` what it expects of each candidate, ``[U, C]``.
    """

    def choose(self, n: int) -> Chosen:
        """Choose ``n`` of the candidates that were not observed; the choice changes nothing."""
        ...

    def observe(self, sample: int, label: int) -> None:
        """Take an answer into account.

        Args:
            sample: the candidate's id.
            label: its class.

        """
        ...


class QueryStrategy(ABC):
    """One way to choose what to label; stateless, so that a resumed run asks what the first one would have.

    Attributes:
        name: what users call it.
        description: half a line for ``pipeline list strategies``.
        source: whom to cite.
        needs_port: whether it reads ``QueryState.look_ahead``, so that the network must be migrated first.
        needs_features: whether it reads ``QueryState.features``, so that a network without a last linear layer is
            refused before the run begins, and not when it is first scored.
        needs_infinite: whether it reads ``QueryState.infinite_kernel``; likewise.
        needs_dropout: whether it reads ``QueryState.sampled_probabilities``; likewise for a network without dropout.
        remembers: whether it returns a ``Selection.memory``, to be given it in the next cycle: all else that it knows
            must be in its state.
        needs_gradients: whether it reads ``QueryState.gradients``, and of a port nothing else: no kernel is computed,
            and there may be any number of candidates.
        needs_learner: what the run must train by, a key of ``trainer.learners.LEARNERS``; None where any will do. A run
            whose ``train.learner`` is not given trains by it.
        takes_pools: whether it reads ``QueryState.pools``, and so chooses equally many of each at once; any other is
            asked for each pool's share alone.
        takes_mode: whether ``LookAheadOptions.mode`` changes what it asks, so that users may call it ``NAME-greedy``
            and ``NAME-sequential`` too.

    """

    name: str
    description: str
    source: str
    needs_port: bool
    needs_features: bool = False
    needs_infinite: bool = False
    needs_dropout: bool = False
    remembers: bool = False
    needs_gradients: bool = False
    needs_learner: str | None = None
    takes_mode: bool = False
    takes_pools: bool = False

    @property
    def needs_kernel(self) -> bool:
        """Whether a kernel over labelled ∪ candidates is computed for it."""
        return self.needs_port and not self.needs_gradients

    @abstractmethod
    def query(self, state: QueryState, n: int) -> Selection:
        """Choose ``n`` of the candidates, before any of them is answered.

        Args:
            state: what it may look at.
            n: how many.

        Raises:
            PipelineError: more are asked for than there are.

        """

    def query_sizes(self, options: LookAheadOptions, size: int, answers: int) -> tuple[int, ...]:
        """Return how many samples each query of a cycle asks for, with no training between them.

        By default one query of all; where there are several, ``sequential_query`` chooses them.

        Args:
            options: what the run asks of strategies that look ahead.
            size: what the run calls the size of a query.
            answers: what a cycle asks for; the sizes must add up to it.

        """
        return (answers,)

    def sequential_query(self, state: QueryState) -> SequentialQuery:
        """Open the queries of a cycle that are answered one after another.

        Args:
            state: of the cycle; it must stay what it is, whatever is answered.

        Raises:
            PipelineError: it asks for a whole query at once, as by default.

        """
        raise PipelineError(
            f"strategy {self.name!r}: expected a method sequential_query(state) beside query_sizes, for cycles of "
            "several queries; got none"
        )

    def covariance(self, options: LookAheadOptions, answers: int, candidates: int) -> Covariance:
        """Say how much of the kernel over labelled ∪ candidates it needs, before anything is computed.

        Args:
            options: what the run asks of strategies that look ahead.
            answers: taken in between two trainings, imagined or true.
            candidates: U.

        """
        return "required"

    def ranking(self, options: LookAheadOptions) -> Ranking | None:
        """Return by what it ranks, for the fidelity report; None where it does not look ahead."""
        return None
