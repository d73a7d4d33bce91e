"""What a label asks of a network's outputs that they do not do yet: its residual r = y - f, for either loss.

Least squares ends where outputs are the one-hot labels.  Cross-entropy has no end: logits grow for as long as training
lasts, and a one-hot vector is no target for them.  What it pulls an output by is its negative gradient,

    r(x, c) = β (onehot(c) - softmax(f(x)))

with one step β for all, and y = f + r takes the label's place in the regression and in the block update.
"""

from typing import Literal, NamedTuple, TypedDict, get_args

import numpy as np

from linearize.errors import LinearizeError
from linearize.probabilities import CrossEntropy, Name, Probabilities, softmax
from linearize.types import Array, Float64

Residual = Literal["outputs", "probabilities"]
"""What a label is compared with: outputs (Y - f, least squares), or the probabilities that they mean (β (Y - p),
cross-entropy)."""


class Meaning(TypedDict):
    """What ``LookAhead.fit`` is told of the loss that trained a network."""

    probabilities: Name
    residual: Residual


BY_LOSS: dict[str, Meaning] = {
    "l2": {"probabilities": "simplex", "residual": "outputs"},
    "cross-entropy": {"probabilities": "softmax", "residual": "probabilities"},
}


def check_residual(residual: Residual, probabilities: Probabilities) -> None:
    """Refuse a residual that is none, or that the probabilities do not go with.

    Raises:
        LinearizeError: it says which do.

    """
    if residual not in get_args(Residual):
        raise LinearizeError(f"residual: expected one of {', '.join(get_args(Residual))}; got {residual!r}")
    if residual == "probabilities" and probabilities != "softmax":
        raise LinearizeError(
            f"residual: 'probabilities' is cross-entropy's and expects probabilities 'softmax', got {probabilities!r}"
        )


class Pull(NamedTuple):
    """What a label c of each candidate pulls its outputs by: r(x', c) = step · onehot(c) - m(x')."""

    step: float | Array
    m: Float64  # [U, C]

    @classmethod
    def of(cls, f_lin: Float64, probabilities: Probabilities) -> "Pull":
        """Read it off outputs ``[U, C]``."""
        if isinstance(probabilities, CrossEntropy):
            return cls(probabilities.step, probabilities.step * softmax(f_lin))
        return cls(1.0, f_lin)

    def residual(self, labels: np.ndarray) -> Float64:
        """Return r of one class each ``[U]``, as ``[U, C]``."""
        return np.asarray(self.step * np.eye(self.m.shape[1])[labels] - self.m)


def targets(outputs: np.ndarray, Y: np.ndarray, probabilities: Probabilities) -> Float64:
    """Return what labels ask outputs to be, ``[N, C]``: the labels themselves, or f + β (Y - softmax(f)).

    Args:
        outputs: f ``[N, C]``.
        Y: one-hot ``[N, C]``.
        probabilities: what outputs mean.

    """
    if not isinstance(probabilities, CrossEntropy):
        return Y
    f = np.asarray(outputs, np.float64)
    return f + probabilities.step * (Y - softmax(f))


def cross_entropy(outputs: np.ndarray, Y: np.ndarray) -> CrossEntropy:
    """Return what outputs of a network trained with cross-entropy mean, its step read off the labelled set.

    β is the slope of the least-squares fit f(X) ≈ α + β Y, a shift of each row aside: how far training has raised a
    label's logit above the others.  It is at least 1, the step of the loss's own gradient.

    Args:
        outputs: f(X) ``[L, C]``.
        Y: one-hot ``[L, C]``.

    """
    f, y = (np.asarray(array, np.float64) for array in (outputs, Y))
    centred = y - y.mean(1, keepdims=True)
    return CrossEntropy(max(1.0, float((f * centred).sum() / np.maximum((centred**2).sum(), 1e-300))))
