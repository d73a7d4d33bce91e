"""The named errors of the migrator; each message says what was expected, what came, and what to do."""

from __future__ import annotations


class MigratorError(ValueError):
    """Any refusal of the migrator: a model, a file or a port that it will not accept."""


class ModelNotInEvalMode(MigratorError):
    """A layer is in training mode, so its forward pass is not the function to port."""


class UnsupportedOp(MigratorError):
    """The model uses operators that have no rule; the message lists all of them at once."""


class DataDependentControlFlow(MigratorError):
    """The forward pass branches or takes shapes from tensor values."""


class StaticBatch(MigratorError):
    """The forward pass only works for one batch size."""


class NonDeterministicForward(MigratorError):
    """The forward pass draws random numbers in evaluation mode."""


class BatchDependentNorm(MigratorError):
    """A batch norm has no running statistics, so an output depends on the other examples of its batch."""


class UnsupportedGradient(MigratorError):
    """Gradients are changed by what cannot be carried over: a hook, a rule of one's own, a write under ``no_grad``."""


class UnsupportedOutput(MigratorError):
    """The module returns something that is no tensor and cannot be compared."""


class UnsupportedParameter(MigratorError):
    """A parameter or buffer has a type that has no counterpart (lazy, sparse, complex, half precision)."""


class CorruptWeights(MigratorError):
    """Weights are not finite, a running variance is negative, or a weights file is damaged."""


class StateDictMismatch(MigratorError):
    """The names, shapes or types of the weights do not fit the model."""


class PrecisionLoss(MigratorError):
    """A number would lose digits on the way, such as float64 weights while JAX runs without x64."""


class PortMismatch(MigratorError):
    """The port does not compute what the torch module computes, or was not verified."""


class PathTaken(MigratorError, FileExistsError):
    """What is to be written would replace something that it must not."""


class CorruptPort(MigratorError):
    """A saved port is incomplete, damaged, or written by another version of the operator set."""
