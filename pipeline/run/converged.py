"""What a user should know of a training that ended before it converged."""

from pathlib import Path

from pipeline.run.context import RunContext
from pipeline.run.stages.train import options_of
from pipeline.run.summary import CycleRow

UNFIT = 0.5
"""A residual per sample above which the labelled images were not learned at all: one that always says 0 has 1."""


def unconverged(context: RunContext, row: CycleRow, trained: Path) -> str:
    """Return a warning where a cycle's network was to converge and did not; else nothing.

    Args:
        context: the run's constants.
        row: what the cycle achieved.
        trained: its train stage.

    """
    looks_ahead, options = context.strategy.needs_kernel, context.config.train_options
    if options.learns_unlabelled and row.residual_rms <= UNFIT:
        return ""  # what is left of the labels, those without hold
    if row.converged or not (looks_ahead or (row.ended == "epochs" and options.tolerance > 0)):
        return ""
    if row.ended != "epochs":
        return (
            f"cycle {row.cycle}: training ended by its {row.ended} with a residual of {row.residual_rms:.3f} per "
            "sample; look-ahead scores assume about 0: leave --set train.until_accuracy and train.patience out in "
            "the next run"
        )
    rate = options_of(context, trained).max_lr
    caution = "; look-ahead scores assume about 0" if looks_ahead and not options.learns_unlabelled else ""
    aim = "" if options.learns_unlabelled else f" (tolerance {options.tolerance:g})"
    lower = "a lower " if row.residual_rms > UNFIT else "another "
    return (
        f"cycle {row.cycle}: training stopped at the epoch limit with a residual of {row.residual_rms:.3f} per "
        f"sample{aim}{caution}: "
        f"try more --epochs or {lower}--set train.max_lr (it was {rate:.3g}) in the next run"
    )
