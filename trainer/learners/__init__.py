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
from trainer.learners.fixmatch import FixMatch
from trainer.learners.loss_prediction import LearnedLoss
from trainer.learners.mean_teacher import MeanTeacher, PiModel
from trainer.learners.semi import LEARNERS_OWN
from trainer.learners.supervised import Supervised

__all__ = [
    "LEARNERS",
    "LEARNERS_OWN",
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

LEARNERS: dict[str, Learner] = {
    learner.name: learner for learner in (Supervised(), LearnedLoss(), PiModel(), MeanTeacher(), FixMatch())
}
