"""What a training regime is made of: an optimiser, a schedule of its learning rate, and what ends it."""

from trainer.regimes.endings import Ended, Ending
from trainer.regimes.optimizers import OPTIMIZERS, OptimizerKind, grouped
from trainer.regimes.schedules import SCHEDULES, Schedule

__all__ = ["OPTIMIZERS", "SCHEDULES", "Ended", "Ending", "OptimizerKind", "Schedule", "grouped"]
