"""How the service computes its kernel."""

import math
from dataclasses import dataclass

from linearize.errors import LinearizeError
from linearize.kernel import Settings, make_settings
from linearize.types import Layers, Precision


@dataclass(frozen=True)
class KernelOptions:
    """How the kernel is computed.

    Args:
        head: ``sum-of-logits``, ``single-logit``, ``trace`` or ``full``.
        logit: which logit, for ``single-logit``.
        layers: ``all`` parameters, or those of the ``last`` linear layer.
        ridge: λ relative to the mean diagonal of Θ(X,X).
        precision: ``float32``, ``float64``, ``bfloat16`` or ``tensorfloat32``.
        block: examples whose features lie in one array; chosen by default.
        memory_budget: bytes, or a size such as ``4GiB``; half of what is free by default.
        devices: how many of JAX's devices share the work; all by default.

    Raises:
        LinearizeError: a value that makes no sense.

    """

    head: str = "sum-of-logits"
    logit: int = 0
    layers: Layers = "all"
    ridge: float = 0.0
    precision: Precision = "float32"
    block: int | None = None
    memory_budget: int | str | None = None
    devices: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.ridge < math.inf:
            raise LinearizeError(f"kernel ridge: expected a finite number of at least 0, got {self.ridge}")
        _ = self.settings  # checks the rest

    @property
    def settings(self) -> Settings:
        """The same for the kernel's functions."""
        return make_settings(
            self.head, self.logit, self.layers, self.precision, self.memory_budget, self.block, self.devices
        )

    def rows(self, classes: int) -> int:
        """Return k, the rows of Θ that an example has: one for every class with the full kernel, else one for all."""
        return classes if self.settings.head.combine == "rows" else 1
