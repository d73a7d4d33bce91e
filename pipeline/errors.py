"""The two ways a command can end badly."""


class PipelineError(ValueError):
    """The input is wrong: one line that says what was expected, what came and what to do; exit code 2."""


class RunFailedError(RuntimeError):
    """The input was fine but the run could not go on (diverged, failed parity, singular kernel); exit code 1."""


class TheirCodeError(RunFailedError):
    """Code that the user named did what it may not: once it is mended, the same run goes on."""


class DivergedError(RunFailedError):
    """Training diverged at every learning rate that was tried; lower ones may do.

    Args:
        message: one line.
        max_lr: the lowest of these rates.

    """

    def __init__(self, message: str, max_lr: float) -> None:
        super().__init__(message)
        self.max_lr = max_lr
