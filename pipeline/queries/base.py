"""The contract of a query strategy: what it sees, what it returns, and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from linearize import LookAhead
from pipeline.errors import PipelineError
from pipeline.pool import Labelled
from pipeline.probabilities import probabilities


class Selection(NamedTuple):
    """What to label next.

    Args:
        indices: data-set-absolute ids in rank order ``[n]``, no id twice.
        scores: their scores ``[n]``; higher is queried first.
        candidate_scores: the scores of all candidates ``[U]``, in the order of ``QueryState.candidates``; ranking them
            gives ``indices`` again, which is what stage ``select`` does.

    """

    indices: np.ndarray
    scores: np.ndarray
    candidate_scores: np.ndarray


@dataclass(frozen=True)
class QueryState:
    """Everything that a strategy may look at; the pool's labels are not among it.

    Args:
        candidates: ids of the candidate subset ``[U]``.
        labelled: the labelled set with its labels.
        num_classes: C.
        loss: the loss that the network was trained with.
        rng: the strategy's own random stream for this cycle.
        inputs: maps ids to normalised, unaugmented inputs ``[N, ...]``.
        evaluate: maps inputs to the trained network's outputs ``[N, C]``.
        linearize: maps (labelled inputs, their labels, candidate inputs) to the linearised network.

    """

    candidates: np.ndarray
    labelled: Labelled
    num_classes: int
    loss: str
    rng: np.random.Generator
    inputs: Callable[[np.ndarray], np.ndarray]
    evaluate: Callable[[np.ndarray], np.ndarray]
    linearize: Callable[[np.ndarray, np.ndarray, np.ndarray], LookAhead]

    @cached_property
    def outputs(self) -> np.ndarray:
        """The network's outputs on the candidates, ``[U, C]``; computed when first asked for."""
        return self.evaluate(self.inputs(self.candidates))

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Class probabilities of the candidates, ``[U, C]``."""
        return probabilities(self.outputs, self.loss)

    @cached_property
    def look_ahead(self) -> LookAhead:
        """The linearised network over labelled ∪ candidates; computed when first asked for."""
        X = self.inputs(self.labelled.ids)
        return self.linearize(X, self.labelled.labels, self.inputs(self.candidates))


class QueryStrategy(Protocol):
    """One way to choose what to label; stateless, so that a resumed run asks what the first one would have."""

    @property
    def name(self) -> str:
        """What users call it."""
        ...

    @property
    def description(self) -> str:
        """Half a line for ``pipeline list strategies``."""
        ...

    @property
    def source(self) -> str:
        """Whom to cite."""
        ...

    @property
    def needs_port(self) -> bool:
        """Whether it reads ``QueryState.look_ahead``, so that the network must be migrated first."""
        ...

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose ``n`` of the candidates.

        Raises:
            PipelineError: more are asked for than there are.

        """
        ...


def select_top(candidates: np.ndarray, scores: np.ndarray, n: int) -> Selection:
    """Select the ``n`` highest scores; equal scores in the candidates' (random) order.

    Args:
        candidates: ids ``[U]``.
        scores: ``[U]``.
        n: how many.

    Raises:
        PipelineError: n is larger than the number of candidates.
        ValueError: the scores are not one finite number a candidate.

    """
    if not 0 < n <= len(candidates):
        raise PipelineError(f"query: expected 1 to {len(candidates)} samples (the candidates left), got {n}")
    if scores.shape != candidates.shape or not np.isfinite(scores).all():
        raise ValueError(f"expected one finite score for each of {len(candidates)} candidates, got {scores}")
    ranked = np.argsort(-scores, kind="stable")[:n]
    return Selection(candidates[ranked], scores[ranked], scores)
