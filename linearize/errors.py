"""Errors that a caller of ``linearize`` can act on: each says what was expected, what came and what to do."""


class LinearizeError(ValueError):
    """Base class of every error that the input, not the code, has caused."""


class SingularKernelError(LinearizeError):
    """The labelled kernel could not be factored even with the largest jitter allowed."""


class MemoryBudgetError(LinearizeError):
    """The kernel cannot be computed within the memory budget, however it is chunked."""


class NonFiniteError(LinearizeError):
    """Outputs or kernel entries are NaN or infinite."""
