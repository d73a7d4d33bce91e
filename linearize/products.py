"""Θ without forming it: its diagonal, and its products with vectors."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from common.memory import shown
from linearize.engine import blocks, compute
from linearize.engine.execute import arithmetic
from linearize.engine.tape import Tape, split
from linearize.engine.work import CACHED, bytes_of_one
from linearize.errors import LinearizeError, MemoryBudgetError
from linearize.kernel import convert, tape_of
from linearize.options import KernelOptions
from linearize.types import ApplyFn, Array, Float64, Progress, Variables

MOST_EXAMPLES = 256


def ntk_diagonal(
    apply_fn: ApplyFn,
    variables: Variables,
    x: np.ndarray,
    *,
    options: KernelOptions | None = None,
    progress: Progress | None = None,
) -> Float64:
    """Compute Θ(x_i, x_i) alone, at the price of one forward and backward pass and no N×N array.

    Θ(x, x) = ‖∇_θ g(x)‖².  Source: Mohamadi, Bae & Sutherland 2022, below eq. 10; Goodfellow 2015 for layers
    that see one position.

    Args:
        apply_fn: the network in eval mode.
        variables: its collections.
        x: inputs ``[N, ...]``.
        options: head, layers and precision.
        progress: called with ``(examples done, N)``.

    Returns:
        ``[N]``, or ``[N C]`` for the head ``full``.

    Raises:
        LinearizeError: no inputs, or no trainable parameter.

    """
    options = options or KernelOptions()
    with arithmetic(options.precision):
        variables, x = convert(variables, _some(x), options.precision)
        tape = tape_of(apply_fn, variables, x, options)
        arrays = split(variables)
        parts = []
        for start, portion in _portions(tape, x):
            norms = _norms(tape, *arrays, portion)
            parts.append(np.asarray(norms, np.float64).reshape(len(portion), -1)[: len(x) - start])
            if progress:
                progress(min(start + len(portion), len(x)), len(x))
    return np.concatenate(parts).reshape(-1)


def ntk_blocks(
    apply_fn: ApplyFn,
    variables: Variables,
    x: np.ndarray,
    *,
    options: KernelOptions | None = None,
    progress: Progress | None = None,
) -> Float64:
    """Compute each example's own block of the full kernel, K(x,x) = J(x) J(x)ᵀ, without J of more than a few examples.

    K_cc'(x,x) = ⟨∇_θ f_c(x), ∇_θ f_c'(x)⟩: rᵀ K r is the squared norm of any gradient J(x)ᵀ r.  It takes a forward pass
    and C backward passes an example.

    Args:
        apply_fn: the network in eval mode.
        variables: its collections.
        x: inputs ``[N, ...]``.
        options: layers, precision and memory budget; the head must be ``full``.
        progress: called with ``(examples done, N)``.

    Returns:
        ``[N, C, C]``.

    Raises:
        LinearizeError: no inputs, no trainable parameter, or another head.
        MemoryBudgetError: one example alone is too large for the memory budget.

    """
    options = options or KernelOptions("full")
    with arithmetic(options.precision):
        variables, x = convert(variables, _some(x), options.precision)
        tape = tape_of(apply_fn, variables, x, options)
        if tape.rows != tape.outputs:
            raise LinearizeError(f"blocks: expected the kernel head 'full', got {options.head!r}")
        one = _bytes_of_a_block(tape)
        if one > options.budget:
            raise MemoryBudgetError(
                f"the gradients of all {tape.outputs} outputs of one example take {shown(one)}, which does not fit "
                f"into a memory budget of {shown(options.budget)}"
            )
        arrays, parts = split(variables), []
        most = max(min(8 * CACHED, options.budget) // one, 1)
        for start, portion in _portions(tape, x, min(most, MOST_EXAMPLES)):
            found = _own_blocks(tape, *arrays, portion)
            parts.append(np.asarray(found, np.float64)[: len(x) - start])
            if progress:
                progress(min(start + len(portion), len(x)), len(x))
    return np.concatenate(parts)


def vector_jacobian_product(
    apply_fn: ApplyFn, variables: Variables, x: np.ndarray, v: np.ndarray, *, options: KernelOptions | None = None
) -> Any:
    """Compute J(x)ᵀ v, a direction in parameter space.

    Σ_i v_i ∇_θ g(x_i).  Source: Mohamadi, Bae & Sutherland 2022, below eq. 10 (Θ = J Jᵀ).

    Args:
        apply_fn: the network in eval mode.
        variables: its collections.
        x: inputs ``[N, ...]``.
        v: weights ``[N]``; ``[N, C]`` for the heads ``trace`` and ``full``, whose g has C outputs.
        options: head, layers and precision.

    Returns:
        A tree like ``variables["params"]``; zero where ``layers`` leaves a parameter out.

    Raises:
        LinearizeError: the shapes do not fit.

    """
    options = options or KernelOptions()
    with arithmetic(options.precision):
        variables, x = convert(variables, _some(x), options.precision)
        tape = tape_of(apply_fn, variables, x, options)
        weights = _weights(tape, v, len(x))
        structure = jax.tree.structure(variables["params"])
        return jax.tree.unflatten(structure, _pull(tape, split(variables), x, weights))


def jacobian_vector_product(
    apply_fn: ApplyFn, variables: Variables, x: np.ndarray, tangent: Any, *, options: KernelOptions | None = None
) -> Float64:
    """Compute J(x) t, how much g moves at every x when the parameters move along t.

    ⟨∇_θ g(x_i), t⟩.  Source: Mohamadi, Bae & Sutherland 2022, below eq. 10 (Θ = J Jᵀ).

    Args:
        apply_fn: the network in eval mode.
        variables: its collections.
        x: inputs ``[N, ...]``.
        tangent: a tree like ``variables["params"]``.
        options: head, layers and precision.

    Returns:
        ``[N]``, or ``[N, C]`` for the heads ``trace`` and ``full``.

    Raises:
        LinearizeError: the tree does not fit.

    """
    options = options or KernelOptions()
    with arithmetic(options.precision):
        variables, x = convert(variables, _some(x), options.precision)
        shapes = [jax.tree.map(np.shape, tree) for tree in (tangent, variables["params"])]
        if shapes[0] != shapes[1]:
            raise LinearizeError("tangent: expected a tree of arrays shaped like variables['params']")
        tape = tape_of(apply_fn, variables, x, options)
        moved = _push(tape, split(variables), x, jax.tree.leaves(tangent))
    return moved if tape.outputs > 1 else moved[:, 0]


def ntk_vector_product(
    apply_fn: ApplyFn,
    variables: Variables,
    x: np.ndarray,
    v: np.ndarray,
    x2: np.ndarray | None = None,
    *,
    options: KernelOptions | None = None,
) -> Float64:
    """Compute Θ(x, x2) v without forming Θ.

    Θ v = J(x) (J(x2)ᵀ v).  Source: Mohamadi, Bae & Sutherland 2022, below eq. 10.

    Args:
        apply_fn: the network in eval mode.
        variables: its collections.
        x: inputs of the rows ``[N, ...]``.
        v: ``[M]``, or ``[M C]`` for the head ``full``.
        x2: inputs of the columns ``[M, ...]``; x by default.
        options: head, layers and precision.

    Returns:
        ``[N]``, or ``[N C]`` for the head ``full``.

    Raises:
        LinearizeError: the shapes do not fit.

    """
    options = options or KernelOptions()
    with arithmetic(options.precision):
        variables, x = convert(variables, _some(x), options.precision)
        columns = x if x2 is None else convert({}, _some(x2), options.precision)[1]
        tape = tape_of(apply_fn, variables, x, options)
        arrays = split(variables)
        if np.shape(v) != (len(columns) * tape.rows,):
            raise LinearizeError(f"v: expected {len(columns) * tape.rows} numbers, got {list(np.shape(v))}")
        v = np.asarray(v)
        if tape.rows == tape.outputs:  # each output is a row of its own
            direction = _pull(tape, arrays, columns, v.reshape(len(columns), -1))
            return _push(tape, arrays, x, direction).reshape(-1)
        total = np.zeros(len(x))
        for output in np.eye(tape.outputs):  # the outputs' kernels are added up
            direction = _pull(tape, arrays, columns, v[:, None] * output[None])
            total += _push(tape, arrays, x, direction) @ output
        return total


def _some(x: np.ndarray) -> np.ndarray:
    if not len(x):
        raise LinearizeError("kernel: expected at least one input, got none")
    return x


def _weights(tape: Tape, v: np.ndarray, examples: int) -> np.ndarray:
    expected = (examples,) if tape.outputs == 1 else (examples, tape.outputs)
    if np.shape(v) != expected:
        raise LinearizeError(f"v: expected an array {list(expected)}, got {list(np.shape(v))}")
    return np.asarray(v).reshape(examples, tape.outputs)


def _portions(tape: Tape, x: np.ndarray, most: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Cut the examples into equal portions, the last one filled up with its own last row: nothing recompiles."""
    one = bytes_of_one(tape, tape.units)
    fitting = max(min(8 * CACHED // max(one, 1), most or MOST_EXAMPLES), 1)
    size = 1 << (int(fitting).bit_length() - 1)
    for start in range(0, len(x), size):
        yield start, x[np.arange(start, start + size).clip(max=len(x) - 1)]


@partial(jax.jit, static_argnums=0)
def _norms(tape: Tape, parameters: list[Array], others: list[Array], examples: Array) -> Array:
    return compute.squared_norms(tape, parameters, others, examples)


@partial(jax.jit, static_argnums=0)
def _own_blocks(tape: Tape, parameters: list[Array], others: list[Array], examples: Array) -> Array:
    return blocks.own_blocks(tape, parameters, others, examples)


def _bytes_of_a_block(tape: Tape) -> int:
    """Bytes that the backward passes of one example's outputs take, about, and the largest unit's gradients by them."""
    made = [unit for unit in tape.units if not blocks.made_of_ghosts(unit, tape.outputs)]
    passes = bytes_of_one(tape, ())
    return max(passes + tape.outputs * (bytes_of_one(tape, made) - passes), 1)


@partial(jax.jit, static_argnums=0)
def _pulled(tape: Tape, parameters: list[Array], others: list[Array], examples: Array, weights: Array) -> list[Array]:
    outputs, pull = jax.vjp(lambda p: tape.evaluate(p, others, examples), parameters)
    (direction,) = pull(weights.astype(outputs.dtype))
    return direction


@partial(jax.jit, static_argnums=0)
def _pushed(tape: Tape, parameters: list[Array], others: list[Array], examples: Array, direction: list[Array]) -> Array:
    typed = [jnp.asarray(t, p.dtype) for t, p in zip(direction, parameters, strict=True)]
    return jax.jvp(lambda p: tape.evaluate(p, others, examples), (parameters,), (typed,))[1]


def _pull(tape: Tape, arrays: tuple[list[Array], list[Array]], x: np.ndarray, weights: np.ndarray) -> list[Array]:
    total: list[Array] | None = None
    most = 1 if len(x) == 1 else None  # a column of Θ begins with one example
    for start, portion in _portions(tape, x, most):
        part = weights[start : start + len(portion)]
        padded = np.concatenate([part, np.zeros((len(portion) - len(part), part.shape[1]))])
        direction = _pulled(tape, *arrays, portion, padded)
        total = direction if total is None else [a + b for a, b in zip(total, direction, strict=True)]
    assert total is not None
    return total


def _push(tape: Tape, arrays: tuple[list[Array], list[Array]], x: np.ndarray, direction: list[Array]) -> Float64:
    parts = [
        np.asarray(_pushed(tape, *arrays, portion, direction), np.float64)[: len(x) - start]
        for start, portion in _portions(tape, x)
    ]
    return np.concatenate(parts)
