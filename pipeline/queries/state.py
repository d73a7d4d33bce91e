"""What a strategy may look at, and what a run asks of it."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from common.arrays import read_only
from common.losses import get_loss
from linearize import Dynamics, Examples, LookAhead, LossGradients, Measure, Mode
from pipeline.infinite import InfiniteKernel
from pipeline.progress import StageProgress, silent
from pipeline.retraining import Retrainer
from pipeline.run.pool import Labelled


class LookAheadOptions(NamedTuple):
    """What a run asks of strategies that look ahead; where a field is None, each does what it does by default.

    Args:
        mode: how several are chosen: the highest scores (``top``), one after another, each as if answered by its
            likeliest label (``greedy``), or one by one in view of the true answers (``sequential``).
        measure: what change is measured from, and between what.
        naive_candidates: how many candidates the strategy ``naive`` really retrains with.
        group: how many candidates convergence rate control scores together.
        references: how many candidates, drawn at random, stand for the others in sums over them; None takes all.

    """

    mode: Mode = "top"
    measure: Measure = Measure()
    naive_candidates: int | None = None
    group: int | None = None
    references: int | None = None


NO_OPTIONS = LookAheadOptions()
MASKS = 2**31
"""Key of the stream that dropout masks are drawn from, below the strategy's own: none that ``spawn`` gives."""
CHUNK = 4096
"""Candidates whose inputs are held at once where the outputs alone are wanted."""


def _cannot_retrain(*_: np.ndarray) -> Retrainer:
    raise ValueError("there is no network to retrain")


def _has_no_last_layer() -> tuple[np.ndarray, np.ndarray]:
    raise ValueError("there is no network whose last layer could be read")


def _has_it() -> bool:
    return True


def _has_no_port() -> LossGradients:
    raise ValueError("there is no port of the network to differentiate")


def _has_no_twin(*_: np.ndarray) -> InfiniteKernel:
    raise ValueError("the infinite-width kernel is made for strategies with needs_infinite = True alone")


def _has_no_dropout(*_: object) -> np.ndarray:
    raise ValueError("there is no network that could be sampled")


def _predicts_no_loss(*_: np.ndarray) -> np.ndarray:
    raise ValueError("no module beside the network predicts its loss: set needs_learner = 'loss-prediction'")


@dataclass(frozen=True)
class QueryState:
    """Everything that a strategy may look at; the pool's labels are not among it, and arrays cannot be written to.

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
        last_layer: returns weights ``[C, d]`` and biases ``[C]`` of the layer that ``embed`` gives the inputs of.
        has_bias: whether that layer has biases, be they 0.
        differentiate: gives the gradients of the network's loss, in JAX.
        predict_losses: maps inputs to the losses that the module beside the network predicts ``[N]``, where the run
            trains by the learner ``loss-prediction``.
        progress: told how far a slow strategy is, ``(done, total)``, so that it can be stopped, and what it takes.
        sample: maps inputs and a seed to the outputs of K passes with dropout ``[K, N, C]``.
        memory: what the strategy remembered last, see ``Selection.memory``; None at first.
        queries: of the whole run, one a cycle but the last; None where it has no end.
        pools: positions of candidates ``[U_c]``, one array for each class of which equally many are asked for; given
            to strategies with ``takes_pools`` where the run's queries are balanced by hidden labels, else None.

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
    last_layer: Callable[[], tuple[np.ndarray, np.ndarray]] = _has_no_last_layer
    has_bias: Callable[[], bool] = _has_it
    differentiate: Callable[[], LossGradients] = _has_no_port
    predict_losses: Callable[[np.ndarray], np.ndarray] = _predicts_no_loss
    progress: StageProgress = silent
    sample: Callable[[np.ndarray, int], np.ndarray] = _has_no_dropout
    memory: Any = None
    queries: int | None = None
    pools: tuple[np.ndarray, ...] | None = None

    @cached_property
    def outputs(self) -> np.ndarray:
        """The network's outputs on the candidates, ``[U, C]``; computed when first asked for."""
        return read_only(self._in_parts(self.evaluate))

    def outputs_of(self, ids: np.ndarray) -> np.ndarray:
        """Return the network's outputs on any samples, ``[N, C]``.

        Args:
            ids: of the samples ``[N]``.

        """
        return self._in_parts(self.evaluate, ids)

    def _in_parts(self, of: Callable[[np.ndarray], np.ndarray], ids: np.ndarray | None = None) -> np.ndarray:
        ids = self.candidates if ids is None else ids
        parts = [ids[start : start + CHUNK] for start in range(0, max(len(ids), 1), CHUNK)]
        return np.concatenate([of(self.inputs(part)) for part in parts])

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Class probabilities of the candidates, ``[U, C]``."""
        return read_only(get_loss(self.loss).probabilities.of(self.outputs))

    @cached_property
    def sampled_probabilities(self) -> np.ndarray:
        """Class probabilities of the candidates in K passes with dropout, ``[K, U, C]``; one function a pass.

        The masks' seed is derived from that of ``rng``, however much was drawn from it.
        """
        stream: Any = self.rng.bit_generator.seed_seq
        seed = np.random.SeedSequence(stream.entropy, spawn_key=(*stream.spawn_key, MASKS)).generate_state(1)
        sampled = self.sample(self.inputs(self.candidates), int(seed[0]))
        return read_only(get_loss(self.loss).probabilities.of(sampled))

    @cached_property
    def predicted_losses(self) -> np.ndarray:
        """The candidates' losses as the module beside the network predicts them, ``[U]``; only their order counts."""
        return read_only(self._in_parts(self.predict_losses))

    @cached_property
    def features(self) -> np.ndarray:
        """What the network's last layer sees of the candidates, ``[U, d]``."""
        return read_only(self.embed(self.inputs(self.candidates))[0])

    @cached_property
    def labelled_features(self) -> np.ndarray:
        """What the network's last layer sees of the labelled set, ``[L, d]``."""
        return read_only(self.embed(self.inputs(self.labelled.ids))[0])

    @cached_property
    def look_ahead(self) -> LookAhead:
        """The linearised network over labelled ∪ candidates; computed when first asked for."""
        X = self.inputs(self.labelled.ids)
        return self.linearize(X, self.labelled.labels, self.inputs(self.candidates))

    def own_look_ahead(self) -> LookAhead:
        """Return a linearised network that the caller may answer, so that this state stays what it is.

        It is the one that this state has computed, if it has; the state then computes another when asked again.
        """
        service = self.look_ahead
        self.__dict__.pop("look_ahead")
        return service

    def opened(self) -> "QueryState":
        """Return a state whose linearised network may be answered, while this one keeps its own to begin again with."""
        other = copy(self)
        if "look_ahead" in self.__dict__:
            other.__dict__["look_ahead"] = self.look_ahead.fork()
        return other

    @cached_property
    def infinite_kernel(self) -> InfiniteKernel:
        """The kernel of the network's twin of infinite width over labelled ∪ candidates."""
        return self.infinite(self.inputs(self.labelled.ids), self.inputs(self.candidates))

    @cached_property
    def gradients(self) -> LossGradients:
        """The gradients of the network's loss, of which sums, norms and inner products are computed when asked for."""
        return self.differentiate()

    @cached_property
    def dynamics(self) -> Dynamics:
        """What each candidate would change of the labelled set's training dynamics; inputs are fetched in portions."""
        labelled, pool = (
            Examples(len(ids), lambda rows, ids=ids: self.inputs(ids[rows]))  # type: ignore[misc]
            for ids in (self.labelled.ids, self.candidates)
        )
        return Dynamics.fit(self.gradients, labelled, self.labelled.labels, pool, self.progress)

    @cached_property
    def retrainer(self) -> Retrainer:
        """The network itself, to be trained on from the cycle's weights and evaluated on the candidates."""
        X = self.inputs(self.labelled.ids)
        return self.retrain(X, self.labelled.labels, self.inputs(self.candidates))
