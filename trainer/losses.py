"""Training losses on one-hot targets, and what the residual of each is measured on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from trainer.errors import TrainerError


@dataclass(frozen=True)
class Loss:
    """A loss and the read-out that its residual is defined on.

    Args:
        name: the name users give.
        description: one line.
        value: `value(outputs [B, C], Y [B, C])`, a scalar.
        readout: maps outputs `[B, C]` to what training drives towards the one-hot targets.
        lr_scale: what a family's default learning rate, chosen for l2, is multiplied by. The gradient of
            cross-entropy by the outputs, `(p - y)/B`, is C/2 times that of l2, `2 (f - y)/(BC)`.
    """

    name: str
    description: str
    value: Callable[[Tensor, Tensor], Tensor]
    readout: Callable[[Tensor], Tensor]
    lr_scale: float = 1.0


def l2(outputs: Tensor, y: Tensor) -> Tensor:
    """Squared error, mean over batch and classes: `(1/BC) sum_bc (f_c(x_b) - y_bc)^2`.

    Source: Mohamadi, Bae and Sutherland, "Making look-ahead active learning strategies feasible with neural
    tangent kernels" (2022), which trains on one-hot targets with this loss.

    Args:
        outputs: network outputs `[B, C]`.
        y: one-hot targets `[B, C]`.
    """
    return F.mse_loss(outputs, y)


def cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of the softmax, mean over the batch: `-(1/B) sum_bc y_bc log softmax_c(f(x_b))`.

    Args:
        outputs: network outputs `[B, C]`, in nats before normalisation.
        y: one-hot targets `[B, C]`.
    """
    return F.cross_entropy(outputs, y)


def _unchanged(outputs: Tensor) -> Tensor:
    return outputs


def _softmax(outputs: Tensor) -> Tensor:
    return torch.softmax(outputs, dim=1)


LOSSES: dict[str, Loss] = {
    "l2": Loss("l2", "squared error on one-hot targets, mean over batch and classes", l2, _unchanged),
    "cross-entropy": Loss(
        "cross-entropy", "cross-entropy of the softmax, mean over the batch", cross_entropy, _softmax, lr_scale=0.1
    ),
}


def one_hot(labels: NDArray[np.int64], num_classes: int) -> NDArray[np.float32]:
    """One-hot targets: row i is 1 at `labels[i]` and 0 elsewhere.

    Args:
        labels: class numbers, integers `[L]`.
        num_classes: number of columns C.

    Returns:
        float32 `[L, C]`.

    Raises:
        TrainerError: labels that are not integers in `[0, num_classes)`.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise TrainerError(f"labels must be integers [L], got {labels.dtype} {list(labels.shape)}")
    if labels.size and not (labels.min() >= 0 and labels.max() < num_classes):
        raise TrainerError(
            f"labels must lie in 0..{num_classes - 1}, got {labels.min()}..{labels.max()}; check the number of classes"
        )
    y = np.zeros((len(labels), num_classes), np.float32)
    y[np.arange(len(labels)), labels] = 1
    return y
