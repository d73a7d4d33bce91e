"""The contract of the package: what a model is, and what the stages hand to one another.

Letters follow one notation throughout (L labelled, U pool candidates, C classes, P trainable parameters):
``X [L, ...]``, ``Y [L, C]`` one-hot, ``U [U, ...]``, ``f(x) [C]``, ``R = Y - f(X)``, ``K = Θ(X,X) + λI``,
``a(x) = Θ(x,X) K⁻¹ R``, ``f_lin = f + a``, ``S = Θ(U,U) - Θ(U,X) K⁻¹ Θ(X,U)``, ``u(x') = S(x',x') + λ``.  k is how
many rows of Θ an example has: 1, or C with the full kernel, whose rows stand where examples do.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = Any
"""A ``jax.Array`` or ``numpy.ndarray``."""

Variables = Mapping[str, Any]
"""Flax collections; ``variables["params"]`` holds the trainable parameters, everything else is constant."""

Float64 = NDArray[np.float64]

Layers = Literal["all", "last"]
"""Which parameters are differentiated: all, or those of the last linear layer."""

Precision = Literal["float32", "float64", "bfloat16", "tensorfloat32"]
"""How Θ is computed.  ``float32``: in the network's own type, products without reduced precision.  ``float64``: the
network and its inputs are converted to float64.  ``bfloat16``: the features of large layers are kept in bfloat16, and
products accumulated in float32.  ``tensorfloat32``: GPUs may round the factors of products to TF32."""

Progress = Callable[[int, int], None]
"""Called with ``(units done, units in all)`` while a long computation runs."""


class ApplyFn(Protocol):
    """A network in eval mode: ``apply_fn(variables, x [B, ...]) -> logits [B, C]``."""

    def __call__(self, variables: Variables, x: Array, /) -> Array:
        """Evaluate the network.

        Args:
            variables: its Flax collections.
            x: inputs ``[B, ...]``.

        """
        ...


class Kernel(NamedTuple):
    """The blocks of Θ over labelled ∪ pool."""

    XX: Float64  # [L k, L k]
    XU: Float64  # [L k, U k]
    UU: Float64  # [U k, U k]
