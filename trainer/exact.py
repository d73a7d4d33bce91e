"""Training of a network that is linear in its weights: the minimum itself, without a step."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainer.errors import Diverged, TrainerError
from trainer.features import embed
from trainer.learners.base import EpochRecord, OnEpoch, Trained
from trainer.options import TrainOptions
from trainer.predict import accuracy, predict

RIDGES = (1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)
"""Those that leaving one out chooses from, relative to the kernel's mean diagonal."""
FEWEST, FEWEST_OF_A_CLASS = 20, 4
"""Labels in all, and in the mean over the classes, below which the least of them is taken: so few do not tell them
apart (benchmarks/RESULTS.md)."""


class Choice(NamedTuple):
    """The ridge that leaving one out chose.

    Args:
        ridge: it, relative to the kernel's mean diagonal.
        errors: of each ridge and example, ``||Y_i - f_{-i}(x_i)||²`` ``[G, L]``.

    """

    ridge: float
    errors: NDArray[np.float64]


class Spectrum:
    """Ridge regression on H = [h(X), 1] for any ridge, by one singular value decomposition H = U S Vᵀ.

    With K = H Hᵀ, the tangent kernel of a linear layer with a bias, and λ = ridge · mean diagonal of K, the weights are
    V S (S² + λ)⁻¹ Uᵀ Y, and what all others predict of an example is off by e_i = r_i / (1 - A_ii), with
    A = K (K + λI)⁻¹ and r = Y - A Y.  Source: Hoerl & Kennard 1970; Allen 1974 (PRESS).

    Args:
        h: features of the labelled images ``[L, d]``.
        Y: one-hot targets ``[L, C]``.

    """

    def __init__(self, h: NDArray[np.float64], Y: NDArray[np.float64]) -> None:
        self.Y = Y
        self.U, s, self.Vt = np.linalg.svd(np.hstack([h, np.ones((len(h), 1))]), full_matrices=False)
        self.s = s
        self.UY = self.U.T @ Y  # [r, C]
        self.scale = float(np.square(s).sum() / len(h))  # the mean diagonal of K
        whole = len(s) == len(h)  # U is square: nothing of Y is out of reach
        self.beyond = np.zeros_like(Y) if whole else Y - self.U @ self.UY
        self.free = np.zeros(len(h)) if whole else np.maximum(0, 1 - np.square(self.U).sum(1))

    def weights(self, ridge: float) -> NDArray[np.float64]:
        """Return weights and, in the last row, biases ``[d + 1, C]``."""
        return np.asarray(self.Vt.T @ ((self.s / (np.square(self.s) + ridge * self.scale))[:, None] * self.UY))

    def left_out(self, ridge: float) -> NDArray[np.float64]:
        """Return Y_i - f_{-i}(x_i) ``[L, C]``: what the others predict of each is off by that."""
        kept = ridge * self.scale / (np.square(self.s) + ridge * self.scale)  # [r]
        r = self.beyond + self.U @ (kept[:, None] * self.UY)
        return np.asarray(r / (self.free + np.square(self.U) @ kept)[:, None])


def choose_ridge(spectrum: Spectrum, ridges: Sequence[float] = RIDGES) -> Choice:
    """Choose the least ridge whose leave-one-out error is not above the lowest by more than a standard error.

    The standard error is that of the examples' differences (Breiman et al. 1984, section 3.4.3, paired).  Towards the
    least: where labels are few, a ridge that looks a little better mostly is not.

    Args:
        spectrum: of the labelled images.
        ridges: relative to the kernel's mean diagonal, rising.

    """
    errors = np.array([np.square(spectrum.left_out(ridge)).sum(1) for ridge in ridges])  # [G, L]
    labelled, C = spectrum.Y.shape
    if labelled < max(FEWEST, FEWEST_OF_A_CLASS * C):
        return Choice(ridges[0], errors)
    lowest = int(errors.mean(1).argmin())
    for at in range(lowest):
        more = errors[at] - errors[lowest]
        if more.mean() <= more.std(ddof=1) / np.sqrt(labelled):
            return Choice(ridges[at], errors)
    return Choice(ridges[lowest], errors)


def fit_exactly(
    model: nn.Module,
    x: NDArray[np.float32],
    labels: NDArray[np.int64],
    y: NDArray[np.float32],
    options: TrainOptions,
    *,
    device: str = "cpu",
    on_epoch: OnEpoch | None = None,
) -> Trained:
    """Set the last layer of a network, the only one with weights, to the minimum of loss and penalty.

    argmin_W ||Y - [h(X), 1] W||² + λ ||W||²,   λ = ridge · mean of ||h(x)||² + 1

    whatever weights it starts from.  Source: Hoerl & Kennard 1970.

    Args:
        model: the network, left in eval mode.
        x: normalised inputs, float32 ``[L, C, H, W]``.
        labels: class numbers ``[L]``.
        y: theirs, one-hot ``[L, C]``.
        options: the regime; without a ridge in it, leaving one out chooses one.
        device: where features are computed.
        on_epoch: told once, as of one epoch.

    Raises:
        Diverged: features that are not finite.
        TrainerError: the network is not linear in its weights.

    """
    started = time.perf_counter()
    layer = only_layer(model)
    h = embed(model, x, device=device).features.astype(np.float64)
    if not np.isfinite(h).all():
        raise Diverged("the last layer's inputs are not finite for the labelled images; check these")
    spectrum = Spectrum(h, y.astype(np.float64))
    ridge = options.ridge if options.ridge is not None else choose_ridge(spectrum).ridge
    W = torch.from_numpy(spectrum.weights(ridge).astype(np.float32))
    with torch.no_grad():
        layer.weight.copy_(W[:-1].T)
        layer.bias.copy_(W[-1])
    outputs = predict(model.eval(), x, device=device)
    R = y - outputs
    record: EpochRecord = {"epoch": 1, "loss": float(np.square(R).mean()), "lr": 0.0}
    rms = float(np.linalg.norm(R) / np.sqrt(len(R)))
    record["residual_rms"] = rms
    if on_epoch is not None:
        on_epoch(record)
    return Trained(
        epochs=1,
        converged=True,
        ended="solved",
        residual_norm=float(np.linalg.norm(R)),
        residual_rms=rms,
        train_accuracy=accuracy(outputs, labels),
        history=[record],
        seconds=time.perf_counter() - started,
        max_lr=options.max_lr,
        restarts=(),
        at_chance=False,
        limited=False,
        ridge=ridge,
    )


def only_layer(model: nn.Module) -> nn.Linear:
    """Return the linear layer with a bias that has all of a network's trainable weights.

    Args:
        model: a network.

    Raises:
        TrainerError: there is none, or it has not all of them.

    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear) and module.bias is not None]
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    if layers and trained == {id(layers[-1].weight), id(layers[-1].bias)}:
        return layers[-1]
    raise TrainerError(
        "optimizer: exact solves networks whose only weights are those of a last linear layer with a bias, such as "
        "linear, got another one; choose sgd"
    )
