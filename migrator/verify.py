"""`verify`: a port against its torch module, in float64 down to the tangent kernel."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from migrator.errors import BatchDependentNorm, PortMismatch
from migrator.graph import Graph
from migrator.module import CACHED_GRAPHS, apply_function, check_variables
from migrator.port import Migrated
from migrator.report import Check, Report
from migrator.weights import fingerprint, get, key_map, to_torch_order

if TYPE_CHECKING:
    from torch import nn

    from migrator.reference import Reference

EXACT = 1e-9
"""Largest relative difference in float64."""

FLOAT32_FACTOR = 5.0
"""A port in float32 may be this many times as far from the float64 truth as torch in float32 is."""

FLOAT32_FLOOR = 32 * float(np.finfo(np.float32).eps)
"""Relative difference in float32 that is always allowed."""

SMALL_GRADIENT = 1e-6
"""A parameter's gradient is compared relative to its own size, but at least to this part of the largest gradient."""

BATCHES = (1, 2, 5)
SEED = 20240


class _Compiled(NamedTuple):
    """The functions that verification runs, compiled once for each graph."""

    forward: Callable[..., Any]
    tangents: Callable[..., Any]
    pushed: Callable[..., Any]


@lru_cache(maxsize=CACHED_GRAPHS)
def _compiled(graph: Graph) -> _Compiled:
    apply = apply_function(graph)

    def output(params: Any, rest: Mapping[str, Any], x: Any) -> Any:
        y = apply({**rest, "params": params}, x)
        return y[0] if isinstance(y, tuple) else y

    def tangents(variables: Any, x: Any, weights: Any) -> tuple[Any, Any]:
        params, rest = _split(variables)

        def weighted(p: Any, row: Any, weight: Any) -> Any:
            return jnp.sum(weight * output(p, rest, row[None])[0])

        rows = jax.vmap(jax.grad(weighted), (None, 0, 0))(params, x, weights)
        flat = [leaf.reshape(len(x), -1) for leaf in jax.tree.leaves(rows)]
        block = sum((leaf @ leaf.T for leaf in flat), jnp.zeros((len(x), len(x))))
        return jax.tree.map(lambda leaf: leaf.sum(0), rows), block

    def pushed(variables: Any, x: Any, direction: Any, weights: Any) -> Any:
        params, rest = _split(variables)
        return jnp.vdot(jax.jvp(lambda p: output(p, rest, x), (params,), (direction,))[1], weights)

    return _Compiled(apply, jax.jit(tangents), jax.jit(pushed))


def _split(variables: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    return variables["params"], {name: value for name, value in variables.items() if name != "params"}


class _Checks:
    """Collects comparisons and stops at the first that fails."""

    def __init__(self) -> None:
        self.done: list[Check] = []

    def __call__(self, name: str, value: float, tolerance: float, hint: Callable[[], str] = str) -> None:
        check = Check(name, float(value), float(tolerance))
        self.done.append(check)
        if not check.passed:
            raise PortMismatch(
                f"the port differs from torch in `{name}`: {check.value:.3g}, at most {check.tolerance:.3g} is allowed"
                f"{hint()}"
            )


def verify(module: nn.Module, migrated: Migrated, inputs: np.ndarray, *, ntk_examples: int = 4) -> Report:
    """Compare a port with the torch module that it came from.

    In order: names, shapes and values of all tensors; outputs in float64 on the inputs and on noise, in batches of 1, 2
    and 5; outputs in float32 against torch's own rounding error; the gradient of each parameter and its agreement with
    the forward-mode derivative; a block of the tangent kernel of the sum of the logits.

    Args:
        module: in evaluation mode; it is not changed.
        migrated: the port; its `report` becomes the returned one.
        inputs: real examples, `[n, ...]` as the module takes them.
        ntk_examples: side of the kernel block.

    Returns:
        The report, with `verified` true.

    Raises:
        PortMismatch: naming the check that failed, with numbers.
        MigratorError: when the module itself is not in a state to compare with.
    """
    from migrator.reference import one_thread

    start = time.perf_counter()
    examples = np.asarray(inputs)
    if examples.ndim == 0 or len(examples) == 0:
        raise PortMismatch("verification needs at least one real example")
    checks = _Checks()
    with one_thread(), jax.default_matmul_precision("highest"):
        _compare(module, migrated, examples, ntk_examples, checks)
    migrated.report = dataclasses.replace(
        migrated.report,
        verified=True,
        checks=tuple(checks.done),
        weights=fingerprint(migrated.graph, migrated.variables),
        seconds=migrated.report.seconds | {"verify": time.perf_counter() - start},
    )
    return migrated.report


def _compare(module: nn.Module, migrated: Migrated, examples: np.ndarray, ntk_examples: int, checks: _Checks) -> None:
    import torch

    from migrator.reference import Reference

    truth = Reference(module)
    _check_tensors(module, migrated, checks)
    batches = [np.resize(examples, (size, *examples.shape[1:])) for size in BATCHES]
    if relative(truth.forward(batches[0]), truth.forward(batches[-1])[: BATCHES[0]]) > EXACT:
        raise BatchDependentNorm(
            "in torch itself, an output depends on the other examples of its batch, so it has no per-example gradient; "
            "use statistics that do not come from the batch"
        )
    noise = _noise_like(batches[-1])
    with jax.enable_x64(True):
        variables = _cast(migrated.variables, np.float64)
        _check_forward(module, migrated, variables, truth, (batches, _chunks(examples), noise), checks)
    with jax.enable_x64(False):
        _check_float32(migrated, truth, Reference(module, torch.float32), batches[-1], checks)
    with jax.enable_x64(True):
        _check_tangents(migrated.graph, variables, truth, examples[:ntk_examples], checks)


def _cast(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda a: jnp.asarray(a, dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


def _chunks(examples: np.ndarray) -> list[np.ndarray]:
    """All examples in batches of the largest size checked, the last one filled up by repetition."""
    size = BATCHES[-1]
    return [np.resize(examples[i : i + size], (size, *examples.shape[1:])) for i in range(0, len(examples), size)]


def _noise_like(examples: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(SEED)
    if not np.issubdtype(examples.dtype, np.floating):
        return rng.permuted(examples, axis=0)
    return (examples.mean() + (examples.std() + 1e-3) * rng.standard_normal(examples.shape)).astype(examples.dtype)


def relative(value: Any, truth: Any, scale: float | None = None) -> float:
    """Largest difference, relative to the largest number of the truth; infinite when shapes differ or NaN appears."""
    a, b = np.asarray(value, np.float64), np.asarray(truth, np.float64)
    if a.shape != b.shape or not np.isfinite(a).all():
        return float("inf")
    if not a.size:
        return 0.0
    largest = float(np.abs(b).max()) if scale is None else scale
    return float(np.abs(a - b).max()) / (largest or 1.0)


def _check_tensors(module: nn.Module, migrated: Migrated, checks: _Checks) -> None:
    from migrator.reference import state, trainable_names

    graph = migrated.graph
    check_variables(graph, migrated.variables)
    found, mapped = state(module), key_map(graph)
    missing, extra = sorted(set(found) - set(mapped)), sorted(set(mapped) - set(found))
    checks("names", len(missing) + len(extra), 0, lambda: f": not ported {missing[:8]}, unknown to torch {extra[:8]}")
    stored = {b.file_key for b in graph.bindings}
    leaves = sum(len(jax.tree.leaves(value)) for value in migrated.variables.values())
    checks("stored tensors", abs(leaves - len(stored)), 0, lambda: ": the variables hold tensors that no name leads to")
    for binding in graph.bindings:
        for key in (binding.key, *binding.aliases) if binding.key else ():
            value = to_torch_order(binding, get(migrated.variables, binding))
            same = value.shape == found[key].shape and np.array_equal(value, found[key])
            checks(f"value of {key}", 0.0 if same else 1.0, 0.0, lambda: "; migrate again after changing weights")
    checks.done = [check for check in checks.done if not check.name.startswith("value of ")]
    checks.done.append(Check("values of all tensors", 0.0, 0.0))
    trainable = {b.key for b in graph.bindings if b.collection == "params"}
    differing = sorted(trainable ^ trainable_names(module))
    checks("trainable parameters", len(differing), 0, lambda: f": {differing[:8]}")


def _check_forward(
    module: nn.Module,
    migrated: Migrated,
    variables: Any,
    truth: Reference,
    sets: tuple[list[np.ndarray], list[np.ndarray], np.ndarray],
    checks: _Checks,
) -> None:
    forward = _compiled(migrated.graph).forward

    def difference(x: np.ndarray) -> float:
        y = forward(variables, _double(x))
        return relative(y[0] if isinstance(y, tuple) else y, truth.forward(x))

    def first_difference(x: np.ndarray) -> Callable[[], str]:
        def hint() -> str:
            from migrator.diverge import first_diverging

            return first_diverging(module, migrated, x, EXACT)

        return hint

    batches, chunks, noise = sets
    for batch in batches:
        checks(f"float64 output, batch of {len(batch)}", difference(batch), EXACT, first_difference(batch))
    worst = max(chunks, key=difference)
    checks("float64 output, all examples", difference(worst), EXACT, first_difference(worst))
    checks("float64 output, noise", difference(noise), EXACT, first_difference(noise))


def _double(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64) if np.issubdtype(x.dtype, np.floating) else x


def _check_float32(migrated: Migrated, truth: Reference, single: Reference, x: np.ndarray, checks: _Checks) -> None:
    exact = truth.forward(x)
    variables = _cast(migrated.variables, np.float32)
    y = _compiled(migrated.graph).forward(variables, x.astype(np.float32) if x.dtype == np.float64 else x)
    own = relative(single.forward(x), exact)
    checks(
        "float32 output", relative(y[0] if isinstance(y, tuple) else y, exact), max(FLOAT32_FACTOR * own, FLOAT32_FLOOR)
    )


def _check_tangents(graph: Graph, variables: Any, truth: Reference, x: np.ndarray, checks: _Checks) -> None:
    """Gradients and kernel of `f(x) = sum(weights * logits)`, with random weights and with ones."""
    rng = np.random.default_rng(SEED)
    shape = truth.forward(x).shape
    floor = 0.0
    for head, weights in (("weighted sum", rng.standard_normal(shape)), ("sum", np.ones(shape))):
        gradient, block = _compiled(graph).tangents(variables, _double(x), weights)
        rows = [truth.vjp(x[i : i + 1], weights[i : i + 1]) for i in range(len(x))]
        expected = kernel_block(rows)
        scale = max(float(np.abs(expected).max()), floor)
        if head == "weighted sum":
            floor = SMALL_GRADIENT * scale
            _check_gradient(graph, gradient, {name: sum(row[name] for row in rows) for name in rows[0]}, checks)
            _check_pushed(graph, variables, gradient, (x, weights), checks)
        checks(f"tangent kernel of {len(x)} examples, {head} of logits", relative(block, expected, scale), EXACT)


def kernel_block(rows: list[dict[str, np.ndarray]]) -> np.ndarray:
    """`Theta[i, j] = grad f(x_i) . grad f(x_j)` from one gradient a row, `[B, B]`."""
    jacobian = np.stack([np.concatenate([g.ravel() for g in row.values()] or [np.zeros(1)]) for row in rows])  # [B, P]
    return jacobian @ jacobian.T


def _check_gradient(graph: Graph, gradient: Any, expected: Mapping[str, Any], checks: _Checks) -> None:
    largest = max((float(np.abs(g).max()) for g in expected.values() if g.size), default=0.0)
    worst, name = 0.0, "none"
    for binding in graph.bindings:
        if binding.collection != "params":
            continue
        value, target = to_torch_order(binding, get({"params": gradient}, binding)), expected[binding.key]
        scale = max(float(np.abs(target).max(initial=0.0)), SMALL_GRADIENT * largest)
        error = relative(value, target, scale)
        if not error <= worst:
            worst, name = error, binding.key
    checks("gradient of each parameter", worst, EXACT, lambda: f": largest for {name}")


def _check_pushed(
    graph: Graph, variables: Any, gradient: Any, batch: tuple[np.ndarray, np.ndarray], checks: _Checks
) -> None:
    rng = np.random.default_rng(SEED)
    x, weights = batch
    direction = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), variables["params"])
    pushed = float(_compiled(graph).pushed(variables, _double(x), direction, weights))
    pairs = zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    parts = [np.asarray(g) * d for g, d in pairs]
    total, size = sum(float(part.sum()) for part in parts), sum(float(np.abs(part).sum()) for part in parts)
    checks("forward against reverse derivative", abs(total - pushed) / (size or 1.0), EXACT)
