"""Learners by name; one a file."""

from trainer.learners.base import (
    EpochRecord,
    Examples,
    Inputs,
    Learner,
    Objective,
    OnEpoch,
    Setting,
    Trained,
    Weights,
)
from trainer.learners.loss_prediction import LearnedLoss
from trainer.learners.supervised import Supervised

__all__ = [
    "LEARNERS",
    "EpochRecord",
    "Examples",
    "Inputs",
    "Learner",
    "Objective",
    "OnEpoch",
    "Setting",
    "Trained",
    "Weights",
]

LEARNERS: dict[str, Learner] = {learner.name: learner for learner in (Supervised(), LearnedLoss())}
