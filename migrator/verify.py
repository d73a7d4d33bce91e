"""``verify``: a port against its torch module, in float64 down to the tangent kernel."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import jax
import numpy as np

from migrator.compare import (
    EXACT,
    SEED,
    Arrays,
    Checks,
    cast,
    double,
    floor_of,
    furthest,
    part_of,
    relative,
    resized,
)
from migrator.errors import BatchDependentNorm, NonDeterministicForward, PortMismatch, StaticBatch
from migrator.graph import Graph
from migrator.module import check_variables, outputs_of
from migrator.port import Migrated
from migrator.report import Check, Report
from migrator.tangents import Case, check_tangents, compiled_of
from migrator.weights import fingerprint, get, key_map, to_torch_order

if TYPE_CHECKING:
    from torch import nn

    from migrator.reference import Reference

FLOAT32_FACTOR = 5.0
"""A port in float32 may be this many times as far from the float64 truth as torch in float32 is."""

FLOAT32_FLOOR = 32 * float(np.finfo(np.float32).eps)
"""Relative difference in float32 that is always allowed."""

BATCH = 5
"""How many examples outputs are compared of at once; derivatives, and outputs with them, are taken of 1 and of 2."""

ALONE = 3
"""How many examples torch's output is taken of both alone and together."""


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
        migrated: the port; its ``report`` becomes the returned one.
        inputs: real examples, ``[n, ...]`` as the module takes them; a tuple when it takes several inputs.
        ntk_examples: side of the kernel block.

    Returns:
        The report, with ``verified`` true.

    Raises:
        PortMismatch: naming the check that failed, with numbers.
        MigratorError: the module itself is not in a state to compare with.

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
    checks = Checks()
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


def _compare(module: nn.Module, migrated: Migrated, examples: Arrays, ntk_examples: int, checks: Checks) -> None:
    import torch

    from migrator.diverge import first_diverging
    from migrator.preflight import unwrap
    from migrator.reference import Reference

    module = unwrap(module)
    truth = Reference(module)
    _check_tensors(module, migrated, checks)
    real = resized(examples, BATCH)
    noise = _noise(truth, real)
    _check_torch(truth, real, noise)
    single = Reference(module, torch.float32)
    _check_paths(truth, single, (real, noise))
    sets = {f"batch of {BATCH}": [real], "all examples": _chunks(examples)[1:], "noise": [noise]}

    def check_outputs(name: str, batches: list[Arrays], found: Iterable[Arrays]) -> None:
        worst, where = 0.0, batches[0]
        for batch, outputs in zip(batches, found, strict=True):
            error = furthest(outputs, truth.forward(batch), floor_of(batch))
            if not error <= worst:
                worst, where = error, batch
        checks(f"float64 output, {name}", worst, EXACT, lambda: first_diverging(module, migrated, where, EXACT))

    with jax.enable_x64(True):
        variables = cast(migrated.variables, np.float64)
        forward = compiled_of(migrated.apply_fn, migrated.graph).forward
        for name, batches in sets.items():
            if batches:
                check_outputs(name, batches, (forward(variables, *double(batch)) for batch in batches))
    with jax.enable_x64(False):
        _check_float32(migrated, truth, single, real, checks)
    few = tuple(value[:ntk_examples] for value in examples)
    with jax.enable_x64(True):
        case = Case(migrated, variables, truth, few, lambda size, *both: check_outputs(f"batch of {size}", *both))
        check_tangents(case, checks)


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
            part = part_of(all_, i, one.shape)
            if part.shape != one.shape or relative(one, part, floor_of(several)) > EXACT:
                raise BatchDependentNorm(
                    "in torch itself, an output depends on the other examples of its batch, so it has no per-example "
                    "gradient; take statistics, positions and sums over the batch out of the forward pass"
                )


def _check_paths(truth: Reference, single: Reference, batches: Iterable[Arrays]) -> None:
    """Refuse a module that torch computes otherwise under ``no_grad`` than where it records for gradients."""
    for batch in batches:
        exact, recorded = truth.forward(batch), single.forward(batch)
        free = single.forward(batch, gradients=False)
        own, other = (furthest(y, exact, floor_of(batch)) for y in (recorded, free))
        if not other <= max(FLOAT32_FACTOR * own, FLOAT32_FLOOR):
            raise PortMismatch(
                f"torch itself computes something else under `no_grad` than where it records for gradients (relative "
                f"difference {furthest(free, recorded, floor_of(batch)):.3g}), so no port is equal to both; for "
                "torch's transformer layers `torch.backends.mha.set_fastpath_enabled(False)` makes them the same"
            )


def _chunks(examples: Arrays) -> list[Arrays]:
    """All examples in batches of the largest size checked, the last one filled up by repetition."""
    starts = range(0, len(examples[0]), BATCH)
    return [resized(tuple(value[i : i + BATCH] for value in examples), BATCH) for i in starts]


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


def same_weights(module: nn.Module, migrated: Migrated) -> bool:
    """Return whether a module has the very tensors of a port, by name.

    Args:
        module: the torch side.
        migrated: the port.

    """
    from migrator.preflight import unwrap
    from migrator.reference import state

    found = state(unwrap(module))
    return all(
        binding.key in found
        and np.array_equal(to_torch_order(binding, get(migrated.variables, binding)), found[binding.key])
        for binding in migrated.graph.bindings
        if binding.key
    )


def _check_tensors(module: nn.Module, migrated: Migrated, checks: Checks) -> None:
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


def _check_float32(migrated: Migrated, truth: Reference, single: Reference, x: Arrays, checks: Checks) -> None:
    exact = truth.forward(x)
    variables = cast(migrated.variables, np.float32)
    inputs = tuple(value.astype(np.float32) if value.dtype == np.float64 else value for value in x)
    y = outputs_of(migrated.graph, migrated.apply_fn(variables, *inputs))  # compiled as it will be used
    own = furthest(single.forward(x), exact, floor_of(x))
    checks("float32 output", furthest(y, exact, floor_of(x)), max(FLOAT32_FACTOR * own, FLOAT32_FLOOR))
