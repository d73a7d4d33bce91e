"""The two ways a command can end badly."""


class PipelineError(ValueError):
    """The input is wrong: one line that says what was expected, what came and what to do; exit code 2."""


class RunFailedError(RuntimeError):
    """The input was fine but the run could not go on (diverged, failed parity, singular kernel); exit code 1."""
