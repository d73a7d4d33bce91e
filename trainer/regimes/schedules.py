"""Schedules of the learning rate by name: one record each."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, MultiStepLR, OneCycleLR

if TYPE_CHECKING:
    from trainer.options import TrainOptions

WARM_UP = 0.3
"""Share of a 1cycle in which the learning rate rises."""


@dataclass(frozen=True)
class Schedule:
    """How the learning rate goes from step to step, at most ``max_lr``.

    Args:
        name: what users call it.
        description: one line.
        source: whom to cite.
        build: maps the optimiser, the regime and the steps of an epoch to the schedule.
        rises: share of the epochs in which the rate rises; training does not end early in it.

    """

    name: str
    description: str
    source: str
    build: Callable[[torch.optim.Optimizer, "TrainOptions", int], LRScheduler]
    rises: float = 0.0


def _one_cycle(optimizer: torch.optim.Optimizer, options: "TrainOptions", steps: int) -> LRScheduler:
    return OneCycleLR(
        optimizer,
        max_lr=options.max_lr,
        total_steps=options.epochs * steps + 1,
        pct_start=WARM_UP,
        cycle_momentum=options.cycle_momentum,
    )


def _constant(optimizer: torch.optim.Optimizer, options: "TrainOptions", steps: int) -> LRScheduler:
    return LambdaLR(optimizer, lambda step: 1.0)


def _cosine(optimizer: torch.optim.Optimizer, options: "TrainOptions", steps: int) -> LRScheduler:
    return CosineAnnealingLR(optimizer, T_max=options.epochs * steps)


def _seven_sixteenths(optimizer: torch.optim.Optimizer, options: "TrainOptions", steps: int) -> LRScheduler:
    return LambdaLR(optimizer, lambda step: seven_sixteenths(step, options.epochs * steps))


def seven_sixteenths(step: int, steps: int) -> float:
    """Return cos(7π k/(16 K)), which falls from 1 to 0.195.  Source: Sohn et al. 2020, section 2.2.

    Args:
        step: k, steps done.
        steps: K, of all.

    """
    return math.cos(7 * math.pi * step / (16 * steps))


def _multi_step(optimizer: torch.optim.Optimizer, options: "TrainOptions", steps: int) -> LRScheduler:
    milestones = [round(share * options.epochs) * steps for share in options.milestones]
    return MultiStepLR(optimizer, milestones, gamma=options.decay)


ONE_CYCLE = Schedule(
    "1cycle",
    "rises from max_lr/25 for 30 % of the steps and falls to nearly 0 by a cosine; with cycle_momentum the momentum "
    "goes from 0.95 to 0.85 and back meanwhile",
    "Smith & Topin 2019",
    _one_cycle,
    WARM_UP,
)
CONSTANT = Schedule("constant", "max_lr from the first step to the last", "Robbins & Monro 1951", _constant)
COSINE = Schedule(
    "cosine", "falls from max_lr to 0, max_lr (1 + cos(π t/T))/2", "Loshchilov & Hutter 2017, eq. 5", _cosine
)
SEVEN_SIXTEENTHS = Schedule(
    "cosine-7/16",
    "falls from max_lr to 0.195 of it by a cosine, max_lr cos(7π t/(16 T))",
    "Sohn et al. 2020, sec. 2.2",
    _seven_sixteenths,
)
MULTI_STEP = Schedule(
    "multi-step",
    "max_lr, multiplied by decay at each of the milestones, which are shares of the epochs",
    "He et al. 2016, sec. 3.4",
    _multi_step,
)
SCHEDULES: dict[str, Schedule] = {
    schedule.name: schedule for schedule in (ONE_CYCLE, CONSTANT, COSINE, SEVEN_SIXTEENTHS, MULTI_STEP)
}
