"""Scalar heads: the function of the logits whose gradient is the kernel's feature map."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from linearize.errors import LinearizeError
from linearize.types import Array


@dataclass(frozen=True)
class SumOfLogits:
    """The pseudo-NTK head, g(x) = C^(-1/2) Σ_c f_c(x).  Source: pNTK, thesis eq. 3.2."""

    def __call__(self, logits: Array) -> Array:
        """Map logits ``[C]`` to a scalar."""
        return logits.sum(-1) / math.sqrt(logits.shape[-1])


@dataclass(frozen=True)
class SingleLogit:
    """One logit, g(x) = f_k(x).  Source: look-ahead paper, section 3, "Efficient computation" (k = the first).

    Args:
        logit: k, zero-based.

    """

    logit: int = 0

    def __call__(self, logits: Array) -> Array:
        """Map logits ``[C]`` to a scalar."""
        if not 0 <= self.logit < logits.shape[-1]:
            raise LinearizeError(
                f"head single-logit: expected a logit between 0 and {logits.shape[-1] - 1}, got {self.logit}"
            )
        return logits[..., self.logit]


Head = SumOfLogits | SingleLogit

HEADS: dict[str, Callable[[int], Head]] = {
    "sum-of-logits": lambda _logit: SumOfLogits(),
    "single-logit": SingleLogit,
}


def make_head(name: str, logit: int = 0) -> Head:
    """Build the head ``name``; ``logit`` matters to ``single-logit`` alone.

    Raises:
        LinearizeError: the name is not registered.

    """
    if name not in HEADS:
        raise LinearizeError(f"kernel head: expected one of {', '.join(HEADS)}; got {name!r}")
    return HEADS[name](logit)
