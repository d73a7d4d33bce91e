"""The contract of a query strategy: what it sees, what it returns, and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from linearize import Distance, LookAhead, Mode, Reference
from pipeline.errors import PipelineError
from pipeline.infinite import InfiniteKernel
from pipeline.probabilities import probabilities
from pipeline.progress import StageProgress, silent
from pipeline.retraining import Retrainer
from pipeline.run.pool import Labelled


class Selection(NamedTuple):
    """What to label next.

    Args:
        indices: data-set-absolute ids in rank order ``[n]``, no id twice.
        scores: their scores ``[n]``; higher is queried first.
        candidate_scores: the scores of all candidates ``[U]``, in the order of ``QueryState.candidates``; ranking them
            gives ``indices`` again, which is what stage ``select`` does. A strategy that chooses a batch has no score
            of its own for each candidate; the first chosen then has n, the next n - 1, and those not chosen 0.
        figures: what the strategy has to say of its query, by name: finite numbers, kept in ``diagnostics.json``.

    """

    indices: np.ndarray
    scores: np.ndarray
    candidate_scores: np.ndarray
    figures: dict[str, float] | None = None


class LookAheadOptions(NamedTuple):
    """What a run asks of strategies that look ahead; where a field is None, each does what it does by default.

    Args:
        mode: how several are chosen: the highest scores (``top``), one after another, each as if answered by its
            likeliest label (``greedy``), or one by one in view of the true answers (``sequential``).
        reference: what change is measured from, ``network`` or ``linearized``.
        distance: between ``outputs``, or on the ``simplex``, between the probabilities that they mean.
        naive_candidates: how many candidates the strategy ``naive`` really retrains with.

    """

    mode: Mode | None = None
    reference: Reference | None = None
    distance: Distance | None = None
    naive_candidates: int | None = None


NO_OPTIONS = LookAheadOptions()


def _cannot_retrain(*_: np.ndarray) -> Retrainer:
    raise ValueError("there is no network to retrain")


def _has_no_twin(*_: np.ndarray) -> InfiniteKernel:
    raise ValueError("the infinite-width kernel is made for strategies with needs_infinite = True alone")


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
        embed: maps inputs to the penultimate features ``[N, d]`` and the outputs ``[N, C]``.
        linearize: maps (labelled inputs, their labels, candidate inputs) to the linearised network.
        options: what the run asks of strategies that look ahead.
        retrain: maps the same as ``linearize`` to what really trains the network on.
        infinite: maps labelled and candidate inputs to the kernel of the network's twin of infinite width.
        progress: told how far a slow strategy is, ``(done, total)``, so that it can be stopped, and what it takes.

    """

    candidates: np.ndarray
    labelled: Labelled
    num_classes: int
    loss: str
    rng: np.random.Generator
    inputs: Callable[[np.ndarray], np.ndarray]
    evaluate: Callable[[np.ndarray], np.ndarray]
    embed: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    linearize: Callable[[np.ndarray, np.ndarray, np.ndarray], LookAhead]
    options: LookAheadOptions = NO_OPTIONS
    retrain: Callable[[np.ndarray, np.ndarray, np.ndarray], Retrainer] = _cannot_retrain
    infinite: Callable[[np.ndarray, np.ndarray], InfiniteKernel] = _has_no_twin
    progress: StageProgress = silent

    @cached_property
    def outputs(self) -> np.ndarray:
        """The network's outputs on the candidates, ``[U, C]``; computed when first asked for."""
        return self.evaluate(self.inputs(self.candidates))

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Class probabilities of the candidates, ``[U, C]``."""
        return probabilities(self.outputs, self.loss)

    @cached_property
    def features(self) -> np.ndarray:
        """What the network's last layer sees of the candidates, ``[U, d]``."""
        return self.embed(self.inputs(self.candidates))[0]

    @cached_property
    def labelled_features(self) -> np.ndarray:
        """What the network's last layer sees of the labelled set, ``[L, d]``."""
        return self.embed(self.inputs(self.labelled.ids))[0]

    @cached_property
    def look_ahead(self) -> LookAhead:
        """The linearised network over labelled ∪ candidates; computed when first asked for."""
        X = self.inputs(self.labelled.ids)
        return self.linearize(X, self.labelled.labels, self.inputs(self.candidates))

    @cached_property
    def infinite_kernel(self) -> InfiniteKernel:
        """The kernel of the network's twin of infinite width over labelled ∪ candidates."""
        return self.infinite(self.inputs(self.labelled.ids), self.inputs(self.candidates))

    @cached_property
    def retrainer(self) -> Retrainer:
        """The network itself, to be trained on from the cycle's weights and evaluated on the candidates."""
        X = self.inputs(self.labelled.ids)
        return self.retrain(X, self.labelled.labels, self.inputs(self.candidates))


class QueryStrategy(Protocol):
    """One way to choose what to label; stateless, so that a resumed run asks what the first one would have.

    One that reads ``QueryState.features`` may have ``needs_features = True`` as well: a network without a last linear
    layer is then refused before the run begins, and not when it is first scored.  So does one that reads
    ``QueryState.infinite_kernel``, by ``needs_infinite = True``.
    """

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


def check_count(candidates: np.ndarray, n: int) -> None:
    """Check that n of the candidates can be chosen.

    Raises:
        PipelineError: they cannot.

    """
    if not 0 < n <= len(candidates):
        raise PipelineError(f"query: expected 1 to {len(candidates)} samples (the candidates left), got {n}")


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
    check_count(candidates, n)
    scores = np.asarray(scores)
    if scores.shape != candidates.shape or scores.dtype.kind not in "biuf":
        got = f"{scores.dtype} {list(scores.shape)}"
        raise ValueError(f"expected one score for each of {len(candidates)} candidates, got {got}")
    if bad := np.count_nonzero(~np.isfinite(scores)):
        raise ValueError(f"expected finite scores, got {bad} of {len(candidates)} that are NaN or infinite")
    if scores.dtype.kind != "f":
        scores = scores.astype(np.float64)
    ranked = np.argsort(-scores, kind="stable")[:n]
    return Selection(candidates[ranked], scores[ranked], scores)


def select_in_order(candidates: np.ndarray, order: np.ndarray) -> Selection:
    """Select a batch that was chosen as a whole; the scores say the order: n, n - 1, .., 1, and 0 for the rest.

    Args:
        candidates: ids ``[U]``.
        order: positions among the candidates ``[n]``, the first to be asked first.

    Raises:
        PipelineError: more positions than candidates, or none.
        ValueError: a position twice.

    """
    check_count(candidates, len(order))
    if len(set(map(int, order))) != len(order):
        raise ValueError("expected every candidate at most once, got a position twice")
    scores = np.zeros(len(candidates))
    scores[order] = np.arange(len(order), 0, -1)
    return select_top(candidates, scores, len(order))
