"""`verify`: a port against its torch module, in float64 down to the tangent kernel."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from migrator.errors import BatchDependentNorm, NonDeterministicForward, PortMismatch, StaticBatch
from migrator.graph import Graph, TensorSpec
from migrator.module import CACHED_GRAPHS, ApplyFn, check_variables, outputs_of
from migrator.port import Migrated
from migrator.report import Check, Report
from migrator.weights import fingerprint, get, key_map, to_torch_order

if TYPE_CHECKING:
    from torch import nn

    from migrator.reference import Reference

Arrays: TypeAlias = tuple[Any, ...]
"""One array for each input, or for each output."""

EXACT = 1e-9
"""Largest relative difference in float64."""

FLOAT32_FACTOR = 5.0
"""A port in float32 may be this many times as far from the float64 truth as torch in float32 is."""

FLOAT32_FLOOR = 32 * float(np.finfo(np.float32).eps)
"""Relative difference in float32 that is always allowed."""

SMALL_GRADIENT = 1e-4
"""A parameter's gradient is compared relative to its own size, but at least to this part of the largest gradient."""

SMALL_OUTPUT = 1e-6
"""An output is compared relative to its own size, but at least to this part of the largest input."""

STEEP = 1e4
"""What `SMALL_OUTPUT` is raised by before it is taken for a slope: rounding errors are seen larger in derivatives."""

BATCHES = (1, 2, 5)
ALONE = 3
"""How many examples torch's output is taken of both alone and together."""

SEED = 20240

UNRECORDED = (
    "torch does not record gradient rules of one's own (`inference_mode`, `detach_`, hooks on tensors, "
    "`torch.autograd.Function`); write what they do with `detach()`"
)


class _Compiled(NamedTuple):
    """The functions that verification runs, compiled once for each graph."""

    forward: Callable[..., Any]
    tangents: Callable[..., Any]
    pushed: Callable[..., Any]


@lru_cache(maxsize=CACHED_GRAPHS)
def _compiled(apply: ApplyFn, graph: Graph) -> _Compiled:
    def weighted(params: Any, rest: Mapping[str, Any], row: Arrays, weights: Arrays) -> Any:
        y = outputs_of(graph, apply({**rest, "params": params}, *(value[None] for value in row)))
        floating = [(w, part) for w, part in zip(weights, y, strict=True) if jnp.issubdtype(part.dtype, jnp.floating)]
        return sum((jnp.sum(weight * part) for weight, part in floating), jnp.zeros(()))

    def tangents(variables: Any, x: Arrays, weights: Arrays) -> tuple[Any, Any]:
        params, rest = _split(variables)
        rows = jax.vmap(jax.grad(weighted), (None, None, 0, 0))(params, rest, x, weights)
        flat = [leaf.reshape(len(x[0]), -1) for leaf in jax.tree.leaves(rows)]
        block = sum((leaf @ leaf.T for leaf in flat), jnp.zeros((len(x[0]), len(x[0]))))
        return jax.tree.map(lambda leaf: leaf.sum(0), rows), block

    def pushed(variables: Any, x: Arrays, direction: Any, weights: Arrays) -> Any:
        params, rest = _split(variables)

        def along(row: Arrays, weight: Arrays) -> Any:
            return jax.jvp(lambda p: weighted(p, rest, row, weight), (params,), (direction,))[1]

        return jax.vmap(along)(x, weights).sum()

    return _Compiled(lambda variables, *x: outputs_of(graph, apply(variables, *x)), jax.jit(tangents), jax.jit(pushed))


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


def verify(
    module: nn.Module, migrated: Migrated, inputs: np.ndarray | tuple[np.ndarray, ...], *, ntk_examples: int = 4
) -> Report:
    """Compare a port with the torch module that it came from.

    In order: names, shapes and values of all tensors; outputs in float64 on the inputs and on noise, in batches of 1, 2
    and 5; outputs in float32 against torch's own rounding error; the gradient of each parameter and its agreement with
    the forward-mode derivative; a block of the tangent kernel of the sum of the logits. Of a module with several
    outputs all are compared, and the gradients are those of their sum.

    Args:
        module: in evaluation mode; it is not changed.
        migrated: the port; its `report` becomes the returned one.
        inputs: real examples, `[n, ...]` as the module takes them; a tuple when it takes several inputs.
        ntk_examples: side of the kernel block.

    Returns:
        The report, with `verified` true.

    Raises:
        PortMismatch: naming the check that failed, with numbers.
        MigratorError: when the module itself is not in a state to compare with.

    Example:
        >>> import numpy as np, torch
        >>> from migrator import migrate, verify
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).eval()
        >>> port = migrate(net, torch.zeros(2, 4))
        >>> report = verify(net, port, np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32))
        >>> report.verified, [check.name for check in report.checks][-1]
        (True, 'tangent kernel of 4 examples, sum of logits')
    """
    from migrator.reference import one_thread

    start = time.perf_counter()
    examples = tuple(np.asarray(value) for value in (inputs if isinstance(inputs, tuple) else (inputs,)))
    _check_examples(migrated.graph, examples)
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


def check_source(migrated: Migrated, text: str) -> None:
    """Compare the source of a port with the port itself on noise, without torch.

    Args:
        migrated: the port.
        text: as `migrator.to_source` writes it; it is executed.

    Raises:
        PortMismatch: when outputs, gradients or tangent kernel differ, or the text cannot be run.
    """
    from migrator.source import apply_source

    graph, checks, rng = migrated.graph, _Checks(), np.random.default_rng(SEED)
    ours, written = (_compiled(apply, graph) for apply in (migrated.apply_fn, apply_source(text)))
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        variables = _cast(migrated.variables, np.float64)
        x = _double(tuple(_drawn(rng, value.spec) for value in graph.inputs))
        expected = ours.forward(variables, *x)
        checks("output of the source", _furthest(written.forward(variables, *x), expected, _floor(x)), EXACT)
        single = ours.forward(variables, *(value[:1] for value in x))
        weights = tuple(rng.standard_normal((len(x[0]), *np.shape(y))) for y in single)
        pairs = zip(*(jax.tree.leaves(side.tangents(variables, x, weights)) for side in (written, ours)), strict=True)
        checks("gradients of the source", max((relative(a, b) for a, b in pairs), default=0.0), EXACT)


def _drawn(rng: np.random.Generator, spec: TensorSpec) -> np.ndarray:
    """A made-up batch of one input; whole numbers are zeros and ones."""
    values = rng.standard_normal((BATCHES[1], *(int(size) for size in spec.shape[1:])))
    return (values if spec.dtype.startswith("float") else values > 0).astype(spec.dtype)


def _check_examples(graph: Graph, examples: Arrays) -> None:
    """Refuse examples that the ported module cannot take."""
    if len(examples) != len(graph.inputs):
        raise PortMismatch(f"the module takes {len(graph.inputs)} inputs, but examples of {len(examples)} were given")
    if any(value.ndim == 0 or len(value) == 0 for value in examples):
        raise PortMismatch("verification needs at least one real example")
    if len({len(value) for value in examples}) > 1:
        raise PortMismatch(f"the inputs have {[len(value) for value in examples]} examples; expected as many of each")
    for value, entry in zip(examples, graph.inputs, strict=True):
        spec = entry.spec
        if value.shape[1:] != spec.shape[1:]:
            wanted = ", ".join(map(str, spec.shape[1:]))
            raise PortMismatch(f"examples of {entry.name!r}: expected shape [n, {wanted}], got {list(value.shape)}")
        if value.dtype.kind != np.dtype(spec.dtype).kind:
            raise PortMismatch(f"examples of {entry.name!r}: expected {spec.dtype}, got {value.dtype}")


def _compare(module: nn.Module, migrated: Migrated, examples: Arrays, ntk_examples: int, checks: _Checks) -> None:
    import torch

    from migrator.reference import Reference
    from migrator.screen import unwrap

    module = unwrap(module)
    truth = Reference(module)
    _check_tensors(module, migrated, checks)
    batches = [_resized(examples, size) for size in BATCHES]
    noise = _noise(truth, batches[-1])
    _check_torch(truth, batches[-1], noise)
    sets = {f"batch of {size}": [batch] for size, batch in zip(BATCHES, batches, strict=True)}
    sets |= {"all examples": _chunks(examples)[1:], "noise": [noise]}
    with jax.enable_x64(True):
        variables = _cast(migrated.variables, np.float64)
        for name, inputs in sets.items():
            _check_forward(module, migrated, variables, truth, (name, inputs), checks)
    with jax.enable_x64(False):
        _check_float32(migrated, truth, Reference(module, torch.float32), batches[-1], checks)
    few = tuple(value[:ntk_examples] for value in examples)
    heads = _heads(truth, few)
    with jax.enable_x64(True):
        _check_tangents(migrated, variables, few, heads, checks)


def _check_torch(truth: Reference, real: Arrays, noise: Arrays) -> None:
    """Refuse a module that has no output for each example alone: random, not a number, or mixed with the others."""
    first, again = truth.forward(real), truth.forward(real)
    if any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(first, again, strict=True)):
        raise NonDeterministicForward(
            "in torch itself, the same input gives another output each time; take the random numbers out of the "
            "forward pass, or make them an input"
        )
    if any(np.isnan(y).any() for y in first):
        raise PortMismatch("torch's own output is not a number (NaN) for these examples; verify on others")
    several = tuple(value[:ALONE] for value in noise)
    together = truth.forward(several)
    for i in range(ALONE):
        alone = truth.forward(tuple(value[i : i + 1] for value in several))
        for one, all_ in zip(alone, together, strict=True):
            if one.ndim != all_.ndim:
                raise StaticBatch(
                    f"torch itself returns {list(all_.shape)} for {ALONE} examples but {list(one.shape)} for one; "
                    "name the axes where the module calls `squeeze()`, so that the batch stays"
                )
            axis = next((axis for axis, (a, b) in enumerate(zip(one.shape, all_.shape, strict=True)) if a != b), None)
            part = all_ if axis is None else np.take(all_, [i], axis)
            if part.shape != one.shape or relative(one, part, _floor(several)) > EXACT:
                raise BatchDependentNorm(
                    "in torch itself, an output depends on the other examples of its batch, so it has no per-example "
                    "gradient; take statistics, positions and sums over the batch out of the forward pass"
                )


def _resized(examples: Arrays, size: int) -> Arrays:
    return tuple(np.resize(value, (size, *value.shape[1:])) for value in examples)


def _cast(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda a: jnp.asarray(a, dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


def _chunks(examples: Arrays) -> list[Arrays]:
    """All examples in batches of the largest size checked, the last one filled up by repetition."""
    starts = range(0, len(examples[0]), BATCHES[-1])
    return [_resized(tuple(value[i : i + BATCHES[-1]] for value in examples), BATCHES[-1]) for i in starts]


def _noise(truth: Reference, examples: Arrays) -> Arrays:
    """Made-up examples, no two alike: as spread as the real ones, or where torch has no output for such, near them."""
    rng = np.random.default_rng(SEED)
    made = tuple(_noise_like(rng, value) for value in examples)
    if not any(np.isnan(y).any() for y in truth.forward(made)):
        return made
    floating = [np.issubdtype(value.dtype, np.floating) for value in examples]
    shaken = (value * rng.uniform(0.9, 1.1, value.shape) for value in examples)
    return tuple(new.astype(old.dtype) if on else old for on, old, new in zip(floating, examples, shaken, strict=True))


def _noise_like(rng: np.random.Generator, examples: np.ndarray) -> np.ndarray:
    if not np.issubdtype(examples.dtype, np.floating):
        return rng.permuted(rng.permuted(examples, axis=0), axis=-1)
    return (examples.mean() + (examples.std() + 1e-3) * rng.standard_normal(examples.shape)).astype(examples.dtype)


def relative(value: Any, truth: Any, floor: float = 0.0) -> float:
    """Largest difference, relative to the largest finite number of the truth or to `floor`, whichever is larger.

    It is infinite when shapes differ, NaN appears, or something infinite in one is not so in the other.
    """
    a, b = np.asarray(value), np.asarray(truth)
    kind = np.complex128 if a.dtype.kind == "c" or b.dtype.kind == "c" else np.float64
    a, b = a.astype(kind), b.astype(kind)
    finite = np.isfinite(b)
    if a.shape != b.shape or not np.array_equal(a[~finite], b[~finite]) or not np.isfinite(a[finite]).all():
        return float("inf")
    scale = max(float(np.abs(b[finite]).max(initial=0.0)), floor)
    return float(np.abs(a[finite] - b[finite]).max(initial=0.0)) / (scale or 1.0)


def _floor(x: Arrays) -> float:
    """Outputs smaller than this are rounding errors of what went in, if nothing else."""
    sizes = [float(np.abs(value).max()) for value in x if np.issubdtype(value.dtype, np.floating)]
    return SMALL_OUTPUT * max(sizes, default=1.0)


def same_weights(module: nn.Module, migrated: Migrated) -> bool:
    """Whether a module has the very tensors of a port, by name."""
    from migrator.reference import state
    from migrator.screen import unwrap

    found = state(unwrap(module))
    return all(
        binding.key in found
        and np.array_equal(to_torch_order(binding, get(migrated.variables, binding)), found[binding.key])
        for binding in migrated.graph.bindings
        if binding.key
    )


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
    named: tuple[str, list[Arrays]],
    checks: _Checks,
) -> None:
    name, batches = named
    forward = _compiled(migrated.apply_fn, migrated.graph).forward
    worst, where = 0.0, batches[0] if batches else ()
    for batch in batches:
        error = _furthest(forward(variables, *_double(batch)), truth.forward(batch), _floor(batch))
        if not error <= worst:
            worst, where = error, batch

    def hint() -> str:
        from migrator.diverge import first_diverging

        return first_diverging(module, migrated, where, EXACT)

    if batches:
        checks(f"float64 output, {name}", worst, EXACT, hint)


def _furthest(values: Arrays, truths: Arrays, floor: float) -> float:
    """The largest relative difference of any output."""
    if len(values) != len(truths):
        return float("inf")
    return max((relative(value, truth, floor) for value, truth in zip(values, truths, strict=True)), default=0.0)


def _double(x: Arrays) -> Arrays:
    return tuple(value.astype(np.float64) if np.issubdtype(value.dtype, np.floating) else value for value in x)


def _check_float32(migrated: Migrated, truth: Reference, single: Reference, x: Arrays, checks: _Checks) -> None:
    exact = truth.forward(x)
    variables = _cast(migrated.variables, np.float32)
    inputs = tuple(value.astype(np.float32) if value.dtype == np.float64 else value for value in x)
    y = _compiled(migrated.apply_fn, migrated.graph).forward(variables, *inputs)
    own = _furthest(single.forward(x), exact, _floor(x))
    checks("float32 output", _furthest(y, exact, _floor(x)), max(FLOAT32_FACTOR * own, FLOAT32_FLOOR))


class _Head(NamedTuple):
    """A weighted sum of the outputs, torch's gradient of it for each example, and how steep it may well be."""

    name: str
    weights: Arrays
    rows: list[dict[str, np.ndarray]]
    slope: float


def _heads(truth: Reference, x: Arrays) -> list[_Head]:
    """`f(x) = sum(weights * outputs)` with random weights and with ones; outputs that are no floats do not count."""
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
    heads = []
    for name, weights in (("weighted sum", tuple(random)), ("sum", tuple(ones))):
        rows = [truth.vjp(single, tuple(w[i] for w in weights)) for i, single in enumerate(singles)]
        floors = [np.maximum(np.abs(y), STEEP * _floor(x)) for y in outputs]
        size = sum(float((np.abs(w[0]) * y).sum()) for w, y in zip(weights, floors, strict=True))
        heads.append(_Head(name, weights, rows, size / largest))
    return heads


def _check_tangents(migrated: Migrated, variables: Any, x: Arrays, heads: list[_Head], checks: _Checks) -> None:
    """Gradients and kernel of each head."""
    compiled, floor = _compiled(migrated.apply_fn, migrated.graph), 0.0
    for head in heads:
        gradient, block = compiled.tangents(variables, _double(x), head.weights)
        expected = kernel_block(head.rows)
        if not floor:
            floor = SMALL_GRADIENT * max(float(np.abs(expected).max()), head.slope**2)
            _check_gradient(migrated.graph, gradient, head, checks)
            _check_pushed(compiled, variables, gradient, (x, head), checks)
        name = f"tangent kernel of {len(x[0])} examples, {head.name} of logits"
        checks(name, relative(block, expected, floor), EXACT)
        head.rows.clear()


def kernel_block(rows: list[dict[str, np.ndarray]]) -> np.ndarray:
    """`Theta[i, j] = grad f(x_i) . grad f(x_j)` from one gradient a row, `[B, B]`."""
    block = np.zeros((len(rows), len(rows)))
    for name in rows[0]:  # parameter by parameter: all of a large network's gradients in one matrix take too much
        part = np.stack([row[name].ravel() for row in rows])
        block += part @ part.T
    return block


def _check_gradient(graph: Graph, gradient: Any, head: _Head, checks: _Checks) -> None:
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
    checks("gradient of each parameter", worst, EXACT, lambda: f": largest for {name}; {UNRECORDED}")


def _check_pushed(
    compiled: _Compiled, variables: Any, gradient: Any, case: tuple[Arrays, _Head], checks: _Checks
) -> None:
    rng = np.random.default_rng(SEED)
    x, head = case
    direction = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), variables["params"])
    pushed = float(compiled.pushed(variables, _double(x), direction, head.weights))
    total, size = 0.0, 0.0
    for slope, step in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True):
        part = np.asarray(slope) * step
        total, size = total + float(part.sum()), size + float(np.abs(part).sum())
    checks("forward against reverse derivative", abs(total - pushed) / (max(size, head.slope) or 1.0), EXACT)
