"""What a strategy may look at, and what a run asks of it."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from common.losses import get_loss
from linearize import LookAhead, Measure, Mode
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

    """

    mode: Mode = "top"
    measure: Measure = Measure()
    naive_candidates: int | None = None


NO_OPTIONS = LookAheadOptions()


def _cannot_retrain(*_: np.ndarray) -> Retrainer:
    raise ValueError("there is no network to retrain")


def _has_no_twin(*_: np.ndarray) -> InfiniteKernel:
    raise ValueError("the infinite-width kernel is made for strategies with needs_infinite = True alone")


def _predicts_no_loss(*_: np.ndarray) -> np.ndarray:
    raise ValueError("no module beside the network predicts its loss: set needs_learner = 'loss-prediction'")


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
        predict_losses: maps inputs to the losses that the module beside the network predicts ``[N]``, where the run
            trains by the learner ``loss-prediction``.
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
    predict_losses: Callable[[np.ndarray], np.ndarray] = _predicts_no_loss
    progress: StageProgress = silent

    @cached_property
    def outputs(self) -> np.ndarray:
        """The network's outputs on the candidates, ``[U, C]``; computed when first asked for."""
        return self.evaluate(self.inputs(self.candidates))

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Class probabilities of the candidates, ``[U, C]``."""
        return get_loss(self.loss).probabilities.of(self.outputs)

    @cached_property
    def predicted_losses(self) -> np.ndarray:
        """The candidates' losses as the module beside the network predicts them, ``[U]``; only their order counts."""
        return self.predict_losses(self.inputs(self.candidates))

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
    def retrainer(self) -> Retrainer:
        """The network itself, to be trained on from the cycle's weights and evaluated on the candidates."""
        X = self.inputs(self.labelled.ids)
        return self.retrain(X, self.labelled.labels, self.inputs(self.candidates))
