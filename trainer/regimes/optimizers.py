"""Optimisers by name: one record each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from trainer.options import TrainOptions


Parameters = Sequence[nn.Parameter] | list[dict[str, Any]]


def grouped(parameters: Sequence[nn.Parameter], options: "TrainOptions") -> Parameters:
    """Return parameters as an optimiser takes them: where weights alone decay, the others in a group without decay.

    Args:
        parameters: of all that is trained.
        options: the regime.

    """
    if options.decayed == "all":
        return parameters
    weights = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


@dataclass(frozen=True)
class OptimizerKind:
    """How steps are made of gradients.

    Args:
        name: what users call it.
        description: one line.
        source: whom to cite.
        build: maps parameters, all or in groups (``grouped``), and the regime to the optimiser, at its ``max_lr``.
        max_lr: its own default rate for every network and loss; None where it is the network's.

    """

    name: str
    description: str
    source: str
    build: Callable[[Parameters, "TrainOptions"], torch.optim.Optimizer]
    max_lr: float | None = None


def _sgd(parameters: Parameters, options: "TrainOptions") -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=options.max_lr, momentum=options.momentum, weight_decay=options.weight_decay)


def _nesterov(parameters: Parameters, options: "TrainOptions") -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters,
        lr=options.max_lr,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        nesterov=True,
    )


def _adam(parameters: Parameters, options: "TrainOptions") -> torch.optim.Optimizer:
    return torch.optim.Adam(
        parameters, lr=options.max_lr, betas=(options.momentum, 0.999), weight_decay=options.weight_decay
    )


SGD = OptimizerKind(
    "sgd", "gradient descent with momentum: v ← μ v + g, θ ← θ - η v", "Robbins & Monro 1951; Polyak 1964", _sgd
)
NESTEROV = OptimizerKind(
    "nesterov", "as sgd, with Nesterov's momentum: θ ← θ - η (g + μ v)", "Sutskever et al. 2013", _nesterov
)
ADAM = OptimizerKind(
    "adam",
    "steps scaled by the gradient's second moment; momentum is β₁, β₂ = 0.999",
    "Kingma & Ba 2015",
    _adam,
    max_lr=3e-3,
)


def _no_steps(parameters: Parameters, options: "TrainOptions") -> torch.optim.Optimizer:
    raise ValueError("what is solved takes no steps")


EXACT = OptimizerKind(
    "exact",
    "no steps: the minimum of loss and ridge, of a network that is linear in its weights",
    "Hoerl & Kennard 1970; Allen 1974",
    _no_steps,
)
OPTIMIZERS: dict[str, OptimizerKind] = {kind.name: kind for kind in (SGD, NESTEROV, ADAM, EXACT)}
