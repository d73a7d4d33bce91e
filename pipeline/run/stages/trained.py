"""A cycle's trained network as strategies may question it: everything is computed when it is first asked for."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from linearize import KernelOptions, LookAhead, LossGradients, MemoryBudgetError, Sample
from migrator import load as load_port
from pipeline.infinite import InfiniteKernel, kernel_maker
from pipeline.progress import StageProgress
from pipeline.queries import Covariance
from pipeline.retraining import Retrainer
from pipeline.run.context import RunContext
from pipeline.run.pool import Labelled
from pipeline.run.stages.train import WEIGHTS, options_of, read_beside, unlabelled_of, was_limited
from trainer.checkpoint import load_weights
from trainer.dropout import sample_outputs
from trainer.features import LastLayer, embed, last_layer, last_layer_has_bias
from trainer.learners import Inputs
from trainer.learners.loss_prediction import LearnedLoss, predicted_losses
from trainer.options import TrainOptions
from trainer.predict import predict, release_cached_memory
from trainer.targets import one_hot

PASSES = 20
"""K of dropout, unless ``query.dropout_passes`` says otherwise: twice what the published code of Kirsch et al. 2019 is
shown with.  All labels of a batch together tell at most log K of the network, 3.0 nats."""


@dataclass(frozen=True)
class TrainedNetwork:
    """The network of a cycle, in PyTorch and, where it was migrated, in JAX; it holds no data and leads to no labels.

    Args:
        model: it, at its weights.
        trained: the cycle's train stage.
        port: the cycle's migrate stage; without it, it is not linearised.
        options: how it was trained.
        limited: whether gradients were limited in it.
        kernel: how its kernel is computed.
        covariance: how much of that is needed.
        subsample: of the candidates, which stands for them where that is enough.
        passes: K, in which it is sampled.
        input_shape: (C, H, W).
        num_classes: C.
        device: where torch computes.
        infinite: maps labelled and candidate inputs to the kernel of its twin of infinite width.
        progress: told how far the kernel is.
        unlabelled: what a learner of inputs without labels sees; None for others.

    """

    model: nn.Module
    trained: Path
    port: Path | None
    options: TrainOptions
    limited: bool
    kernel: KernelOptions
    covariance: Covariance
    subsample: Sample | None
    passes: int
    input_shape: tuple[int, int, int]
    num_classes: int
    device: str
    infinite: Callable[[np.ndarray, np.ndarray], InfiniteKernel]
    progress: StageProgress
    unlabelled: Inputs | None

    @classmethod
    def of(
        cls,
        context: RunContext,
        labelled: Labelled,
        trained: Path,
        port: Path | None,
        covariance: Covariance,
        progress: StageProgress,
        subsample: Sample | None = None,
    ) -> "TrainedNetwork":
        """Load the network that a cycle trained.

        Args:
            context: the run's constants.
            labelled: what the network was trained on.
            trained: the cycle's train stage.
            port: its migrate stage.
            covariance: how much of the kernel is needed.
            progress: told how far it is.
            subsample: of the candidates.

        """
        config, model = context.config, context.network()
        load_weights(model, trained / WEIGHTS)
        options = options_of(context, trained)
        return cls(
            model,
            trained,
            port,
            options,
            was_limited(trained),
            with_ridge(config.kernel_options, options),
            covariance,
            subsample,
            config.query.dropout_passes or PASSES,
            context.data.input_shape,
            context.data.num_classes,
            context.device,
            kernel_maker(context.spec, config.kernel_options, progress),
            progress,
            unlabelled_of(context, labelled),
        )

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        """Return outputs ``[N, C]`` of inputs ``[N, ...]``."""
        return predict(self.model, x, device=self.device)

    def embed(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return penultimate features ``[N, d]`` and outputs ``[N, C]``."""
        return embed(self.model, x, device=self.device)

    def last_layer(self) -> LastLayer:
        """Return weights ``[C, d]`` and biases ``[C]`` of the layer that sees the features."""
        return last_layer(self.model, np.zeros((1, *self.input_shape), np.float32))

    def has_bias(self) -> bool:
        """Tell whether that layer has biases."""
        return last_layer_has_bias(self.model, np.zeros((1, *self.input_shape), np.float32))

    def sample(self, x: np.ndarray, seed: int) -> np.ndarray:
        """Return outputs in passes with dropout, ``[K, N, C]``.

        Args:
            x: inputs ``[N, ...]``.
            seed: of the masks.

        """
        return sample_outputs(self.model, x, passes=self.passes, seed=seed, device=self.device)

    def predict_losses(self, x: np.ndarray) -> np.ndarray:
        """Return the losses ``[N]`` that the module beside it predicts of inputs ``[N, ...]``."""
        beside = read_beside(self.trained) if self.options.learner == LearnedLoss.name else None
        if beside is None:
            raise ValueError("no module beside the network predicts its loss: set needs_learner = 'loss-prediction'")
        return predicted_losses(self.model, beside, x, device=self.device)

    def retrain(self, X: np.ndarray, labels: np.ndarray, pool: np.ndarray) -> Retrainer:
        """Return what really trains it on.

        Args:
            X: labelled inputs ``[L, ...]``.
            labels: theirs ``[L]``.
            pool: inputs whose outputs are asked for ``[U, ...]``.

        """
        return Retrainer(
            self.model,
            X,
            labels,
            pool,
            self.num_classes,
            self.options,
            self.device,
            limited=self.limited,
            beside=read_beside(self.trained),
            unlabelled=self.unlabelled,
        )

    def linearize(self, X: np.ndarray, labels: np.ndarray, pool: np.ndarray) -> LookAhead:
        """Linearise it over labelled ∪ candidates; without Θ(U,U) where that is not needed and does not fit.

        Args:
            X: labelled inputs ``[L, ...]``.
            labels: theirs ``[L]``.
            pool: candidates' ``[U, ...]``.

        Raises:
            MemoryBudgetError: what is needed does not fit.

        """
        migrated = self._migrated("looks ahead")
        data = migrated.apply_fn, migrated.variables, X, one_hot(labels, self.num_classes), pool

        def fit(full: bool) -> LookAhead:
            tell = self.progress
            return LookAhead.fit(
                *data,
                self.kernel,
                tell,
                lambda plan: tell.plan(plan.summary()),
                full=full,
                loss=self.options.loss,
                penalised=self.options.ridge is not None,  # consistency holds residuals too, see docs/learners.md
                sample=self.subsample if self.covariance == "sampled" else None,
            )

        try:
            return fit(self.covariance != "none")
        except MemoryBudgetError:
            if self.covariance != "helpful":
                raise
            return fit(False)  # slower, but within the budget

    def differentiate(self) -> LossGradients:
        """Return the gradients of its loss, in JAX."""
        migrated = self._migrated("reads gradients")
        return LossGradients.of(migrated.apply_fn, migrated.variables, self.options.loss, self.kernel)

    def _migrated(self, what: str) -> Any:
        if self.port is None:
            raise ValueError(f"this strategy {what}, so the network must be migrated first: set needs_port = True")
        migrated = load_port(self.port)
        release_cached_memory()
        return migrated


def with_ridge(kernel: KernelOptions, training: TrainOptions) -> KernelOptions:
    """Return how a kernel is computed, with the ridge of a training that had one, unless a larger one was asked for.

    Args:
        kernel: as it was asked for.
        training: how the network was trained.

    """
    return kernel if training.ridge is None else replace(kernel, ridge=max(kernel.ridge, training.ridge))
