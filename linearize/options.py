"""How a kernel is computed."""

import math
from dataclasses import dataclass
from typing import get_args

from common.memory import default_budget, parse_bytes
from linearize.errors import LinearizeError
from linearize.heads import Head, make_head
from linearize.types import Layers, Precision


@dataclass(frozen=True)
class KernelOptions:
    """How a kernel is computed; all of it has good defaults.

    Args:
        head: what is differentiated: ``sum-of-logits``, ``single-logit``, ``trace``, ``full``, or a function of logits.
        logit: which logit, for ``single-logit``.
        layers: ``all`` parameters, or those of the ``last`` linear layer.
        ridge: λ relative to the mean diagonal of Θ(X,X), for what is solved with the kernel.
        precision: ``float32``, ``float64``, ``bfloat16`` or ``tensorfloat32``.
        block: examples whose features lie in one array; chosen by default.
        memory_budget: bytes for features, temporaries and Θ, or a size such as ``4GiB``; half of what is free by
            default.
        devices: how many of JAX's devices share the work; all by default.

    Raises:
        LinearizeError: a value that makes no sense.

    """

    head: str | Head = "sum-of-logits"
    logit: int = 0
    layers: Layers = "all"
    ridge: float = 0.0
    precision: Precision = "float32"
    block: int | None = None
    memory_budget: int | str | None = None
    devices: int | None = None

    def __post_init__(self) -> None:
        for name, value, fine, expected in (
            ("ridge", self.ridge, 0 <= self.ridge < math.inf, "a finite number of at least 0"),
            ("logit", self.logit, self.logit >= 0, "at least 0"),
            ("layers", self.layers, self.layers in get_args(Layers), f"one of {', '.join(get_args(Layers))}"),
            ("precision", self.precision, self.precision in get_args(Precision),
             f"one of {', '.join(get_args(Precision))}"),
            ("block", self.block, self.block is None or self.block >= 1, "at least 1"),
            ("devices", self.devices, self.devices is None or self.devices >= 1, "at least 1"),
        ):  # fmt: skip
            if not fine:
                raise LinearizeError(f"kernel {name}: expected {expected}, got {value}")
        _ = self.function, self.budget  # checks them

    @property
    def function(self) -> Head:
        """The function of the logits whose gradients are the feature map."""
        return make_head(self.head, self.logit) if isinstance(self.head, str) else self.head

    @property
    def budget(self) -> int:
        """Bytes; what is free now decides where none was given."""
        return budget_of(self.memory_budget)

    def rows(self, classes: int) -> int:
        """Return k, the rows of Θ that an example has: one for every class with the full kernel, else one for all."""
        return classes if self.function.combine == "rows" else 1


def budget_of(memory_budget: int | str | None) -> int:
    """Return the bytes that a budget, as people write it, allows; half of what is free now where there is none.

    Args:
        memory_budget: bytes, or a size such as ``4GiB``.

    Raises:
        LinearizeError: it is neither.

    """
    try:
        return default_budget() if memory_budget is None else parse_bytes(memory_budget)
    except ValueError as error:
        raise LinearizeError(str(error)) from error
