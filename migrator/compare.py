"""Inputs to compare on, when two results count as the same, and the record of comparisons."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from migrator.errors import PortMismatch
from migrator.graph import TensorSpec
from migrator.report import Check

Arrays: TypeAlias = tuple[Any, ...]
"""One array for each input, or for each output."""

EXACT = 1e-9
"""Largest relative difference in float64."""

SEED = 20240
"""Of the noise that verification draws: inputs, weights of outputs, directions."""

SMALL_OUTPUT = 1e-6
"""An output is compared relative to its own size, but at least to this part of the largest input."""


class Checks:
    """Collects comparisons and stops at the first that fails."""

    def __init__(self) -> None:
        self.done: list[Check] = []

    def __call__(self, name: str, value: float, tolerance: float, hint: Callable[[], str] = str) -> None:
        """Add one comparison.

        Args:
            name: what is compared.
            value: the difference.
            tolerance: its largest allowed value.
            hint: asked for more to say when it is larger.

        Raises:
            PortMismatch: the value is not within the tolerance.

        """
        check = Check(name, float(value), float(tolerance))
        self.done.append(check)
        if not check.passed:
            raise PortMismatch(
                f"the port differs from torch in `{name}`: {check.value:.3g}, at most {check.tolerance:.3g} is allowed"
                f"{hint()}"
            )


def drawn(rng: np.random.Generator, specs: Iterable[TensorSpec], count: int) -> Arrays:
    """Return made-up examples: standard normal noise, and zeros and ones where an input is of whole numbers.

    Args:
        rng: what they are drawn from, one input after the other.
        specs: of the inputs, the batch first.
        count: number of examples n.

    Returns:
        One array ``[n, ...]`` for each input.

    """
    noise = [(spec, rng.standard_normal((count, *spec.example))) for spec in specs]
    return tuple((x if spec.dtype.startswith("float") else x > 0).astype(spec.dtype) for spec, x in noise)


def cast(tree: Any, dtype: Any) -> Any:
    """Return variables with their floating-point numbers in another type.

    Args:
        tree: nested arrays.
        dtype: the type.

    """

    def changed(a: Any) -> Any:  # by NumPy, for JAX would compile a conversion for each shape
        return jax.device_put(np.asarray(a, dtype)) if jnp.issubdtype(a.dtype, jnp.floating) else a

    return jax.tree.map(changed, tree)


def relative(value: Any, truth: Any, floor: float = 0.0) -> float:
    """Return the largest difference, relative to the largest finite number of the truth, or to a larger floor.

    max |value - truth| / max(max |truth|, floor)

    Args:
        value: any array.
        truth: an array of the same shape.
        floor: what smaller truths are compared relative to.

    Returns:
        The difference; infinite when shapes differ, NaN appears, or something infinite in one is not so in the other.

    """
    a, b = np.asarray(value), np.asarray(truth)
    kind = np.complex128 if a.dtype.kind == "c" or b.dtype.kind == "c" else np.float64
    a, b = a.astype(kind), b.astype(kind)
    finite = np.isfinite(b)
    if a.shape != b.shape or not np.array_equal(a[~finite], b[~finite]) or not np.isfinite(a[finite]).all():
        return float("inf")
    scale = max(float(np.abs(b[finite]).max(initial=0.0)), floor)
    return float(np.abs(a[finite] - b[finite]).max(initial=0.0)) / (scale or 1.0)


def floor_of(x: Arrays) -> float:
    """Return the size below which outputs are rounding errors of what went in, if nothing else."""
    sizes = [float(np.abs(value).max()) for value in x if np.issubdtype(value.dtype, np.floating)]
    return SMALL_OUTPUT * max(sizes, default=1.0)


def furthest(values: Arrays, truths: Arrays, floor: float) -> float:
    """Return the largest relative difference of any output, see ``relative``.

    Args:
        values: one array for each output.
        truths: likewise; infinite when there are not as many.
        floor: what smaller truths are compared relative to.

    """
    if len(values) != len(truths):
        return float("inf")
    return max((relative(value, truth, floor) for value, truth in zip(values, truths, strict=True)), default=0.0)


def part_of(together: Any, i: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return what belongs to one example of a batch: along the axis that is not as long for one example alone.

    Args:
        together: an output for the whole batch.
        i: which example.
        shape: of the output for this example alone.

    """
    whole = np.asarray(together)
    axis = next((axis for axis, (a, b) in enumerate(zip(shape, whole.shape, strict=True)) if a != b), None)
    return whole if axis is None else np.take(whole, [i], axis)


def resized(examples: Arrays, size: int) -> Arrays:
    """Return as many examples as asked for, repeating them where there are fewer.

    Args:
        examples: one array for each input.
        size: how many.

    """
    return tuple(np.resize(value, (size, *value.shape[1:])) for value in examples)


def double(x: Arrays) -> Arrays:
    """Return inputs with their floating-point numbers in float64."""
    return tuple(value.astype(np.float64) if np.issubdtype(value.dtype, np.floating) else value for value in x)
