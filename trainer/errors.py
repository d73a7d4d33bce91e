"""The errors a user of the trainer can cause; each is one line: what was expected, what came, what to do."""


class TrainerError(ValueError):
    """An input, option or file that the trainer cannot work with."""


class DataNotFound(TrainerError):
    """A data set's file is not where it was looked for."""


class DataCorrupt(TrainerError):
    """A data set's file is there but is not what its publisher distributed, or cannot be read."""


class CheckpointError(TrainerError):
    """A weights file is unreadable, cannot be written, or does not fit the network."""


class Diverged(TrainerError):
    """Training produced a loss or outputs that are huge or not finite, at every learning rate that was tried.

    Args:
        message: one line.
        max_lr: the lowest of these rates; None where no rate is to blame.

    """

    def __init__(self, message: str, max_lr: float | None = None) -> None:
        super().__init__(message)
        self.max_lr = max_lr
