"""Really train a network on with one more image: to convergence, for some epochs, or by a single step.

Strategies and the fidelity report use the same object.  It holds no labels but those of the labelled set.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from common.losses import LOSSES
from trainer.errors import Diverged, TrainerError
from trainer.learners import Inputs
from trainer.loop import fit
from trainer.options import TrainOptions
from trainer.predict import placed, predict
from trainer.targets import one_hot

NAIVE_EPOCHS = 15
"""What the look-ahead paper grants a naive look-ahead for each candidate (section 5)."""


def _for_epochs(options: TrainOptions, epochs: int) -> TrainOptions:
    """Return a regime that ends after so many epochs, and not before."""
    plain: dict[str, Any] = {"until_accuracy": None, "patience": None, "holdout": 0.0}
    return replace(options, epochs=epochs, tolerance=0.0, **plain)


def output_change(before: np.ndarray, after: np.ndarray) -> float:
    """Return Σ_x ‖after(x) - before(x)‖₂.  Source: Mohamadi, Bae & Sutherland 2022, eq. 13.

    Args:
        before: outputs ``[U, C]``.
        after: likewise.

    """
    return float(np.linalg.norm(np.asarray(after - before, np.float64), axis=1).sum())


class Retrained(NamedTuple):
    """One real retraining.

    Args:
        outputs: on the pool ``[U, C]``.
        converged: whether its residual came under the run's tolerance.
        seconds: that it took, the pool's outputs included.

    """

    outputs: np.ndarray
    converged: bool
    seconds: float


class Retrainer:
    """Trains a network on from its present weights, as often as asked; after each time it has these again.

    Args:
        model: the network; nobody else may use it during a call.
        x: labelled inputs ``[L, ...]``.
        labels: theirs ``[L]``.
        pool: the inputs whose outputs are asked for ``[U, ...]``.
        num_classes: C.
        options: how the run trains.
        device: where.
        limited: with gradients no longer than at the start, as the cycle's network was trained.
        beside: the weights that what is trained beside the network starts from, each time; None for new ones.
        unlabelled: inputs without labels, for learners that learn from them; an image that is given a label stays one.

    """

    def __init__(
        self,
        model: nn.Module,
        x: np.ndarray,
        labels: np.ndarray,
        pool: np.ndarray,
        num_classes: int,
        options: TrainOptions,
        device: str,
        *,
        limited: bool = False,
        beside: Mapping[str, Tensor] | None = None,
        unlabelled: Inputs | None = None,
    ) -> None:
        self.beside, self.unlabelled = beside, unlabelled
        self.model, self.x, self.labels, self.pool = model, x, labels, pool
        self.num_classes, self.device, self.limited = num_classes, device, limited
        self.options = replace(options, keep_epochs=())
        self._start = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    def __call__(
        self,
        seed: int,
        x: np.ndarray | None = None,
        label: int = 0,
        *,
        epochs: int | None = None,
        check: Callable[[], None] | None = None,
    ) -> Retrained:
        """Train on the labelled set and, unless ``x`` is None, on that image with that label.

        Args:
            seed: of SGD.
            x: one more input ``[1, ...]``.
            label: its hypothetical class.
            epochs: so many, under the run's learning-rate policy fitted to them; by default to convergence, as the
                run trains.
            check: called after every epoch; raises to stop.

        Raises:
            TrainerError: it diverged.

        """
        started = time.perf_counter()
        inputs = self.x if x is None else np.concatenate([self.x, x])
        labels = self.labels if x is None else np.append(self.labels, label)
        options = self.options if epochs is None else _for_epochs(self.options, epochs)
        with self._lent():
            try:
                result = fit(
                    self.model,
                    inputs,
                    labels,
                    self.num_classes,
                    options,
                    seed=seed,
                    device=self.device,
                    on_epoch=(lambda _: check()) if check else None,
                    limited=self.limited,
                    beside=self.beside,
                    unlabelled=self.unlabelled,
                )
            except Diverged as error:
                raise Diverged(f"{error}; lower train.max_lr (--set) in the next run", error.max_lr) from error
            outputs = self._outputs("retraining")
        return Retrained(outputs, result.converged, time.perf_counter() - started)

    def step(self, x: np.ndarray, label: int) -> np.ndarray:
        """Return the pool's outputs ``[U, C]`` after one SGD step on one image, batch-norm statistics frozen.

        θ⁺ = θ - η ∇_θ ℓ(f_θ(x'), onehot(y')), η the run's peak learning rate, without momentum or weight decay.
        Source: Käding et al. 2016, as in Mohamadi, Bae & Sutherland 2022, fig. 1b.

        Args:
            x: the image ``[1, ...]``.
            label: its hypothetical class.

        Raises:
            TrainerError: the outputs are not finite.

        """
        y = one_hot(np.array([label]), self.num_classes)
        with self._lent(), placed(self.model, self.device):
            self.model.eval()
            outputs = self.model(torch.tensor(x, device=self.device))  # a copy: a layer may work in place
            LOSSES[self.options.loss].value(outputs, torch.from_numpy(y).to(self.device)).backward()
            with torch.no_grad():
                for parameter in self.model.parameters():
                    if parameter.requires_grad and parameter.grad is not None:
                        parameter.sub_(self.options.max_lr * parameter.grad)
            return self._outputs("one step")

    def _outputs(self, after: str) -> np.ndarray:
        outputs = predict(self.model, self.pool, device=self.device)
        if not np.isfinite(outputs).all():
            raise TrainerError(
                f"the network's outputs on the candidates are not finite after {after}: lower train.max_lr"
            )
        return outputs

    @contextmanager
    def _lent(self) -> Iterator[None]:
        """Give the network its weights and mode back, whatever happens."""
        training = self.model.training
        self.model.zero_grad(set_to_none=True)
        try:
            yield
        finally:
            self.model.load_state_dict(self._start)
            self.model.zero_grad(set_to_none=True)
            self.model.train(training)
