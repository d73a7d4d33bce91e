"""The part of a verification that looks at derivatives: gradients, their transpose, and the tangent kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from migrator.compare import EXACT, SEED, Arrays, Checks, double, floor_of, part_of, relative, resized
from migrator.compilation import jit_cheaply
from migrator.graph import Graph
from migrator.module import CACHED_GRAPHS, ApplyFn, outputs_of
from migrator.port import Migrated
from migrator.weights import get, to_torch_order

if TYPE_CHECKING:
    from migrator.reference import Reference

SMALL_GRADIENT = 1e-4
"""A parameter's gradient is compared relative to its own size, but at least to this part of the largest gradient."""

STEEP = 1e4
"""What the floor of outputs is raised by to be one of slopes, in which rounding errors are larger."""

PAIR = 2
"""How many examples the forward-mode derivative is taken of at once."""

UNRECORDED = (
    "torch does not record gradient rules of one's own (`inference_mode`, `detach_`, hooks on tensors, "
    "`torch.autograd.Function`); write what they do with `detach()`"
)


class Compiled(NamedTuple):
    """The functions that verification runs, compiled once for each graph.

    What each of them compiles beside the derivative is compared too, so no function is compiled for outputs that
    another one gives.

    Args:
        forward: maps variables and inputs to the flat tuple of outputs.
        tangents: maps variables, inputs and weights of the outputs to the gradient of the weighted sum, the block of
            the tangent kernel ``[B, B]``, and the outputs of each example alone ``[B, ...]``.
        jvp: maps variables, inputs and a direction of the parameters to the outputs and their derivatives along it.

    """

    forward: Callable[..., Any]
    tangents: Callable[..., Any]
    jvp: Callable[..., Any]


@lru_cache(maxsize=CACHED_GRAPHS)
def compiled_of(apply: ApplyFn, graph: Graph) -> Compiled:
    """Return the functions for one way of computing a graph: the port's own, or its source's.

    Args:
        apply: maps variables and inputs to outputs.
        graph: says how these are nested.

    """

    def forward(variables: Any, *x: Any) -> Any:
        return outputs_of(graph, apply(variables, *x))

    def weighted(params: Any, rest: Mapping[str, Any], row: Arrays, weights: Arrays) -> Any:
        y = forward({**rest, "params": params}, *(value[None] for value in row))
        floating = [(w, part) for w, part in zip(weights, y, strict=True) if jnp.issubdtype(part.dtype, jnp.floating)]
        return sum((jnp.sum(weight * part) for weight, part in floating), jnp.zeros(())), y

    def tangents(variables: Any, x: Arrays, weights: Arrays) -> tuple[Any, Any, Arrays]:
        params, rest = _split(variables)
        rows, outputs = jax.vmap(jax.grad(weighted, has_aux=True), (None, None, 0, 0))(params, rest, x, weights)
        flat = [leaf.reshape(len(x[0]), -1) for leaf in jax.tree.leaves(rows)]
        block = sum((leaf @ leaf.T for leaf in flat), jnp.zeros((len(x[0]), len(x[0]))))
        return jax.tree.map(lambda leaf: leaf.sum(0), rows), block, outputs

    def jvp(variables: Any, x: Arrays, direction: Any) -> tuple[Arrays, Arrays]:
        params, rest = _split(variables)
        outputs, slopes = jax.jvp(lambda p: forward({**rest, "params": p}, *x), (params,), (direction,))
        real = [jnp.issubdtype(y.dtype, jnp.floating) for y in outputs]
        return outputs, tuple(dy if on else jnp.zeros(y.shape) for on, y, dy in zip(real, outputs, slopes, strict=True))

    return Compiled(jit_cheaply(forward), jit_cheaply(tangents), jit_cheaply(jvp))


def _split(variables: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    return variables["params"], {name: value for name, value in variables.items() if name != "params"}


class Head(NamedTuple):
    """A weighted sum of the outputs.

    Args:
        name: what a check calls it.
        weights: one array ``[B, ...]`` for each output.
        rows: torch's gradient of it, for each of B examples, by torch's name of the parameter.
        slope: how steep it may well be.

    """

    name: str
    weights: Arrays
    rows: list[dict[str, np.ndarray]]
    slope: float


def heads_of(truth: Reference, x: Arrays) -> Iterator[Head]:
    """Yield f(x) = Σ weights ⊙ outputs with random weights, then with ones; outputs that are no floats do not count.

    Args:
        truth: torch in float64.
        x: B examples, one array for each input.

    """
    rng = np.random.default_rng(SEED)
    singles = [tuple(value[i : i + 1] for value in x) for i in range(len(x[0]))]
    outputs = truth.forward(singles[0])
    floating = [float(np.issubdtype(y.dtype, np.floating)) for y in outputs]
    random = [on * rng.standard_normal((len(singles), *y.shape)) for on, y in zip(floating, outputs, strict=True)]
    ones = [on * np.ones((len(singles), *y.shape)) for on, y in zip(floating, outputs, strict=True)]
    largest = (
        max((float(value.detach().abs().max()) for value in truth.trainable.values() if value.numel()), default=0.0)
        or 1.0
    )
    for name, weights in (("weighted sum", tuple(random)), ("sum", tuple(ones))):
        rows = [truth.vjp(single, tuple(w[i] for w in weights)) for i, single in enumerate(singles)]
        floors = [np.maximum(np.abs(y), STEEP * floor_of(x)) for y in outputs]
        size = sum(float((np.abs(w[0]) * y).sum()) for w, y in zip(weights, floors, strict=True))
        yield Head(name, weights, rows, size / largest)


class Case(NamedTuple):
    """What derivatives are compared on.

    Args:
        migrated: the port.
        variables: its variables in float64.
        truth: torch in float64.
        x: B examples, one array for each input.
        check_outputs: takes the size of batches, the batches, and the port's outputs, and compares these with torch's.

    """

    migrated: Migrated
    variables: Any
    truth: Reference
    x: Arrays
    check_outputs: Callable[[int, list[Arrays], list[Arrays]], None]


def check_tangents(case: Case, checks: Checks) -> None:
    """Compare gradient and tangent kernel of each head, and of the first the gradient with the forward-mode derivative.

    Args:
        case: the port, torch, and the examples.
        checks: take the comparisons.

    Raises:
        PortMismatch: one of them fails.

    """
    migrated, variables, x = case.migrated, case.variables, case.x
    compiled, floor = compiled_of(migrated.apply_fn, migrated.graph), 0.0
    for head in heads_of(case.truth, x):
        gradient, block, outputs = compiled.tangents(variables, double(x), head.weights)
        if not _worst_gradient(migrated.graph, gradient, head)[0] <= EXACT:
            head.rows[:] = rows_beside_another(case.truth, x, head.weights) or head.rows
        expected = kernel_block(head.rows)
        if not floor:
            floor = SMALL_GRADIENT * max(float(np.abs(expected).max()), head.slope**2)
            singles = [tuple(value[i : i + 1] for value in x) for i in range(len(x[0]))]
            alone = [tuple(np.asarray(y)[i] for y in outputs) for i in range(len(x[0]))]
            case.check_outputs(1, singles, alone)
            _check_gradient(migrated.graph, gradient, head, checks)
            _check_jvp(case, compiled, gradient, head, checks)
        name = f"tangent kernel of {len(x[0])} examples, {head.name} of logits"
        checks(name, relative(block, expected, floor), EXACT)
        head.rows.clear()  # a large network's gradients take much room


def kernel_block(rows: list[dict[str, np.ndarray]]) -> np.ndarray:
    """Return Θ[i, j] = ∇f(x_i) · ∇f(x_j) ``[B, B]`` from one gradient a row."""
    block = np.zeros((len(rows), len(rows)))
    for name in rows[0]:  # parameter by parameter: all of a large network's gradients in one matrix take too much
        part = np.stack([row[name].ravel() for row in rows])
        block += part @ part.T
    return block


def rows_beside_another(truth: Reference, x: Arrays, weights: Arrays) -> list[dict[str, np.ndarray]] | None:
    """Return torch's gradients of ``Head.rows``, each taken in a batch of two whose second example has no weight.

    Of one example alone torch can be wrong: its batch norm in eval mode reads the memory of a gradient in another order
    than it has, where its strides look like those of two orders (torch 2.15, CPU).

    Args:
        truth: torch in float64.
        x: B examples, one array for each input.
        weights: of the outputs of each example alone.

    Returns:
        The rows; None where outputs are no longer for two.

    """
    rows = []
    for i in range(len(x[0])):
        twice = tuple(np.concatenate([value[i : i + 1]] * 2) for value in x)
        pair = tuple(np.concatenate([w[i], np.zeros_like(w[i])]) for w in weights)
        if [w.shape for w in pair] != [y.shape for y in truth.forward(twice)]:
            return None
        rows.append(truth.vjp(twice, pair))
    return rows


def _check_gradient(graph: Graph, gradient: Any, head: Head, checks: Checks) -> None:
    worst, name = _worst_gradient(graph, gradient, head)
    checks("gradient of each parameter", worst, EXACT, lambda: f": largest for {name}; {UNRECORDED}")


def _worst_gradient(graph: Graph, gradient: Any, head: Head) -> tuple[float, str]:
    """Return the largest difference from torch's gradient, and the parameter that has it."""
    rows = head.rows

    def expected(name: str) -> np.ndarray:
        return sum((row[name] for row in rows[1:]), rows[0][name])

    largest = max((float(np.abs(expected(name)).max(initial=0.0)) for name in rows[0]), default=0.0)
    floor = SMALL_GRADIENT * max(largest, head.slope)
    worst, name = 0.0, "none"
    for binding in graph.bindings:
        if binding.collection != "params":
            continue
        value, target = to_torch_order(binding, get({"params": gradient}, binding)), expected(binding.key)
        error = relative(value, target, floor)
        if not error <= worst:
            worst, name = error, binding.key
    return worst, name


def _check_jvp(case: Case, compiled: Compiled, gradient: Any, head: Head, checks: Checks) -> None:
    """The derivative along a random direction, of examples in pairs, against the gradient's product with it."""
    rng = np.random.default_rng(SEED)
    count = len(case.x[0])
    direction = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), case.variables["params"])
    along, total, size = 0.0, 0.0, 0.0
    pairs: list[Arrays] = []
    values: list[Arrays] = []
    for start in range(0, count, PAIR):
        pair = resized(tuple(value[start : start + PAIR] for value in case.x), PAIR)
        outputs, slopes = compiled.jvp(case.variables, double(pair), direction)
        pairs.append(pair)
        values.append(outputs)
        for i in range(min(PAIR, count - start)):
            parts = zip(head.weights, slopes, strict=True)
            along += sum(float((w[start + i] * part_of(dy, i, w[start + i].shape)).sum()) for w, dy in parts)
    case.check_outputs(PAIR, pairs, values)
    for slope, step in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True):
        part = np.asarray(slope) * step
        total, size = total + float(part.sum()), size + float(np.abs(part).sum())
    checks("forward against reverse derivative", abs(total - along) / (max(size, head.slope) or 1.0), EXACT)
