"""What a training loss means, in one record for all packages; one loss a record, one line of ``LOSSES``.

It lives here because three packages read it and may not import one another: ``trainer`` minimises ``value`` and stops
by ``readout``, ``linearize`` takes from ``pull`` what a label would do to the outputs, and ``pipeline`` turns outputs
into class probabilities by ``probabilities``.  Everything but ``value`` is NumPy.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from common.naming import one_of
from common.probabilities import SIMPLEX, SOFTMAX, Float64, Probabilities, softmax

Tensor = Any
"""A ``torch.Tensor``: this module imports no framework until a loss is trained with."""


class PseudoResidual(NamedTuple):
    """What a label c pulls the outputs of each example by, r(x, c) = step ⊙ onehot(c) - m(x).

    It is the negative gradient of the loss by the outputs, times what ``Loss.scale`` says.

    Args:
        step: a number for all, or ``[N, C]``.
        m: ``[N, C]``.

    """

    step: float | Float64
    m: Float64

    @property
    def uniform(self) -> bool:
        """Whether one step serves all examples and classes, as the fast forms of criteria take it."""
        return np.ndim(self.step) == 0

    def of(self, Y: np.ndarray) -> Float64:
        """Return r of one label for each example.

        Args:
            Y: one-hot ``[N, C]``.

        Returns:
            ``[N, C]``.

        """
        return np.asarray(self.step * np.asarray(Y, np.float64) - self.m)


def _one(outputs: np.ndarray, Y: np.ndarray) -> float:
    return 1.0


@dataclass(frozen=True)
class Loss:
    """A loss on one-hot targets, and what outputs of a network that it trained mean.

    Args:
        name: what users call it.
        description: one line.
        value: maps torch tensors, outputs ``[B, C]`` and one-hot ``Y [B, C]``, to the scalar that is minimised.
        readout: maps outputs ``[N, C]`` to what training drives towards Y ``[N, C]``; the residual is Y less that.
        probabilities: class probabilities of outputs.
        pull: maps outputs ``[N, C]`` and the scale to what labels pull them by.
        calibrate: maps outputs ``[L, C]`` and one-hot Y of the labelled set to the scale.
        lr_scale: what a network's default learning rate, chosen for l2, is multiplied by.
        mean_over_classes: whether ``value`` is the mean over the C classes of a sum that other authors take.
        scale: of the pseudo-residuals, how far training moves outputs per unit of the loss's gradient.

    """

    name: str
    description: str
    value: Callable[[Tensor, Tensor], Tensor]
    readout: Callable[[np.ndarray], np.ndarray]
    probabilities: Probabilities
    pull: Callable[[np.ndarray, float], PseudoResidual]
    calibrate: Callable[[np.ndarray, np.ndarray], float] = _one
    lr_scale: float = 1.0
    mean_over_classes: bool = False
    scale: float = 1.0

    def calibrated(self, outputs: np.ndarray, Y: np.ndarray) -> "Loss":
        """Return this loss with the scale that a labelled set tells.

        Args:
            outputs: f(X) ``[L, C]``.
            Y: one-hot ``[L, C]``.

        """
        return replace(self, scale=self.calibrate(outputs, Y))

    def pseudo_residual(self, outputs: np.ndarray) -> PseudoResidual:
        """Return what labels pull outputs ``[N, C]`` by."""
        return self.pull(np.asarray(outputs, np.float64), self.scale)

    def target(self, outputs: np.ndarray, Y: np.ndarray) -> Float64:
        """Return what labels ask outputs to be, f + r.

        Args:
            outputs: f ``[N, C]``.
            Y: one-hot ``[N, C]``.

        Returns:
            ``[N, C]``; Y itself, to the last bit, where m = f.

        """
        f = np.asarray(outputs, np.float64)
        pull = self.pseudo_residual(f)
        return np.asarray(pull.step * np.asarray(Y, np.float64) + (f - pull.m))

    def residual(self, outputs: np.ndarray, Y: np.ndarray) -> Float64:
        """Return what training left, R = Y - readout(f).

        Args:
            outputs: f ``[N, C]``.
            Y: one-hot ``[N, C]``.

        Returns:
            ``[N, C]``.

        """
        return np.asarray(np.asarray(Y, np.float64) - np.asarray(self.readout(outputs), np.float64))


def _squared_error(outputs: Tensor, y: Tensor) -> Tensor:
    from torch.nn.functional import mse_loss

    return mse_loss(outputs, y)


def _unchanged(outputs: np.ndarray) -> np.ndarray:
    return outputs


def _pull_of_l2(f: np.ndarray, scale: float) -> PseudoResidual:
    return PseudoResidual(scale, f if scale == 1 else scale * f)


def _cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    from torch.nn.functional import cross_entropy

    return cross_entropy(outputs, y)


def _pull_of_cross_entropy(f: np.ndarray, scale: float) -> PseudoResidual:
    return PseudoResidual(scale, scale * softmax(f))


def _height_of_labels(outputs: np.ndarray, Y: np.ndarray) -> float:
    """β, the slope of the least-squares fit f(X) ≈ α + β Y, a shift of each row aside; at least 1.

    It is how far training has raised a label's logit above the others; 1 is the step of the loss's own gradient.
    """
    f, y = (np.asarray(array, np.float64) for array in (outputs, Y))
    centred = y - y.mean(1, keepdims=True)
    return max(1.0, float((f * centred).sum() / np.maximum((centred**2).sum(), 1e-300)))


L2 = Loss(
    name="l2",
    description="squared error on one-hot targets, mean over batch and classes",
    value=_squared_error,  # (1/BC) Σ_bc (f_c(x_b) - y_bc)²
    readout=_unchanged,
    probabilities=SIMPLEX,
    pull=_pull_of_l2,  # r = y - f: training ends where outputs are one-hot
    mean_over_classes=True,
)
CROSS_ENTROPY = Loss(
    name="cross-entropy",
    description="cross-entropy of the softmax, mean over the batch",
    value=_cross_entropy,  # -(1/B) Σ_bc y_bc log softmax_c(f(x_b))
    readout=softmax,
    probabilities=SOFTMAX,
    pull=_pull_of_cross_entropy,  # r = β (y - softmax(f)): logits end nowhere, so no label is a target for them
    calibrate=_height_of_labels,
    lr_scale=0.1,  # its gradient by the outputs, (p - y)/B, is C/2 times that of l2, 2 (f - y)/(BC)
)
LOSSES: dict[str, Loss] = {loss.name: loss for loss in (L2, CROSS_ENTROPY)}


def get_loss(name: str) -> Loss:
    """Look a loss up by name.

    Args:
        name: a key of ``LOSSES``.

    Raises:
        ValueError: there is none of that name; the message lists those that there are.

    """
    if name not in LOSSES:
        raise ValueError(f"loss: {one_of(name, LOSSES)}")
    return LOSSES[name]
