"""Heads: the functions of the logits whose gradients are the kernel's feature map."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from common.naming import one_of
from linearize.errors import LinearizeError
from linearize.types import Array

Combine = Literal["sum", "rows"]
"""What becomes of the k outputs of a head: their kernels are added up, or each is a row of Θ of its own."""


@dataclass(frozen=True)
class SumOfLogits:
    """The pseudo-NTK head, g(x) = C^(-1/2) Σ_c f_c(x).  Source: Mohamadi 2023, eq. 3.2."""

    combine: Combine = "sum"

    def __call__(self, logits: Array) -> Array:
        """Map logits ``[C]`` to ``[1]``."""
        return logits.sum(-1, keepdims=True) / math.sqrt(logits.shape[-1])


@dataclass(frozen=True)
class SingleLogit:
    """One logit, g(x) = f_k(x).  Source: Mohamadi, Bae & Sutherland 2022, section 3 (k = the first).

    Args:
        logit: k, zero-based.

    """

    logit: int = 0
    combine: Combine = "sum"

    def __call__(self, logits: Array) -> Array:
        """Map logits ``[C]`` to ``[1]``."""
        if not 0 <= self.logit < logits.shape[-1]:
            raise LinearizeError(
                f"head single-logit: expected a logit between 0 and {logits.shape[-1] - 1}, got {self.logit}"
            )
        return logits[..., self.logit : self.logit + 1]


@dataclass(frozen=True)
class Trace:
    """Mean of all logits' kernels, Θ(x,x') = C⁻¹ Σ_c ⟨∇f_c(x), ∇f_c(x')⟩.  Source: Kong et al. 2021 (who use C·Θ)."""

    combine: Combine = "sum"

    def __call__(self, logits: Array) -> Array:
        """Map logits ``[C]`` to ``[C]``."""
        return logits / math.sqrt(logits.shape[-1])


@dataclass(frozen=True)
class Full:
    """All pairs of logits, Θ[(x,c),(x',c')] = ⟨∇f_c(x), ∇f_c'(x')⟩.

    Source: Mohamadi, Bae & Sutherland 2022, below eq. 10.
    """

    combine: Combine = "rows"

    def __call__(self, logits: Array) -> Array:
        """Map logits ``[C]`` to ``[C]``."""
        return logits


@dataclass(frozen=True)
class OwnLoss:
    """⟨d(x), f(x)⟩ with d held fixed: its gradient is that of the loss with the label that the network predicts.

    d = readout(f) - onehot(argmax f), so that Θ(x,x') = g(x)·g(x').  Source: Wang et al. 2022, eqs. 6 and 8.

    Args:
        softmax: whether the loss reads outputs out by their softmax; else as they are.

    """

    softmax: bool
    combine: Combine = "sum"

    def __call__(self, logits: Array) -> Array:
        """Map logits ``[C]`` to ``[1]``."""
        import jax

        y = jax.nn.one_hot(logits.argmax(-1), logits.shape[-1], dtype=logits.dtype)
        d = (jax.nn.softmax(logits) if self.softmax else logits) - y
        return (jax.lax.stop_gradient(d) * logits).sum(-1, keepdims=True)


Head = SumOfLogits | SingleLogit | Trace | Full | OwnLoss

HEADS: dict[str, Callable[[int], Head]] = {
    "sum-of-logits": lambda _logit: SumOfLogits(),
    "single-logit": SingleLogit,
    "trace": lambda _logit: Trace(),
    "full": lambda _logit: Full(),
}


def make_head(name: str, logit: int = 0) -> Head:
    """Build the head ``name``; ``logit`` matters to ``single-logit`` alone.

    Args:
        name: a key of ``HEADS``.
        logit: zero-based.

    Raises:
        LinearizeError: the name is not registered.

    """
    if name not in HEADS:
        raise LinearizeError(f"kernel head: {one_of(name, HEADS)}")
    return HEADS[name](logit)
