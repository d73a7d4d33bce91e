"""Ported networks against torch itself, and against torchax where it is installed: speed, and gradients in float64.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/ports.py speed --model resnet18 --model vit_b_16
    python benchmarks/ports.py gradients

Everything in a table of ``speed`` takes turns in one process: the ratios count, the seconds are of the machine. Without
the setting, threads of torch that wait keep the cores busy while JAX computes, and the reverse.
"""

from __future__ import annotations

import copy
import importlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import jax
import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from migrator import migrate
from migrator.compare import relative
from migrator.survey.of_torchvision import build
from migrator.weights import get, to_torch_order

TESTS = Path(__file__).parents[1] / "tests" / "test_migrator"
SEED = 0


def torchax_function(module: nn.Module) -> tuple[dict[str, Any], Callable[..., Any]] | None:
    """What torchax makes of a module, ``None`` where it is not installed."""
    try:
        import torchax
    except ImportError:
        return None
    weights, function = torchax.extract_jax(module)
    return weights, function


def trainable(module: nn.Module) -> list[str]:
    return [name for name, value in module.named_parameters() if value.requires_grad]


def split(module: nn.Module, weights: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    wanted = set(trainable(module))
    return ({k: v for k, v in weights.items() if k in wanted}, {k: v for k, v in weights.items() if k not in wanted})


def jax_sides(module: nn.Module, x: np.ndarray) -> dict[str, tuple[Callable[[], Any], Callable[[], Any], float]]:
    """Name -> forward pass, per-example gradients of the sum of outputs, and the seconds that conversion took."""
    sides = {}
    start = time.perf_counter()
    port = migrate(module, torch.from_numpy(x[:2]))
    seconds = time.perf_counter() - start
    rest = {name: value for name, value in port.variables.items() if name != "params"}
    per_example = jax.jit(
        jax.vmap(jax.grad(lambda params, row: port.apply_fn({**rest, "params": params}, row[None]).sum()), (None, 0))
    )
    sides["port"] = (
        lambda: jax.block_until_ready(port.apply_fn(port.variables, x)),
        lambda: jax.block_until_ready(per_example(port.variables["params"], x)),
        seconds,
    )
    start = time.perf_counter()
    found = torchax_function(module)
    if found is not None:
        weights, function = found
        seconds = time.perf_counter() - start
        params, others = split(module, weights)
        forward = jax.jit(lambda values, rows: function(values, (rows,)))
        gradients = jax.jit(jax.vmap(jax.grad(lambda p, row: function({**others, **p}, (row[None],)).sum()), (None, 0)))
        sides["torchax"] = (
            lambda: jax.block_until_ready(forward(weights, x)),
            lambda: jax.block_until_ready(gradients(params, x)),
            seconds,
        )
    return sides


def torch_side(module: nn.Module, x: np.ndarray) -> tuple[Callable[[], Any], Callable[[], Any], Callable[[], Any]]:
    """Torch's forward pass, and its per-example gradients by ``vmap(grad)`` and by a loop."""
    rows, names = torch.from_numpy(x), trainable(module)
    params = {name: value.detach() for name, value in module.named_parameters() if name in names}
    per_example = vmap(grad(lambda p, row: functional_call(module, p, (row[None],)).sum()), (None, 0))

    def loop() -> Any:
        tensors = [value for value in module.parameters() if value.requires_grad]
        return [torch.autograd.grad(module(row[None]).sum(), tensors) for row in rows]

    def forward() -> Any:
        with torch.no_grad():
            return module(rows)

    return forward, lambda: per_example(params, rows), loop


def in_turns(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, tuple[float, float]]:
    """Name -> seconds of the first call, and the median of the later ones; the functions take turns."""
    first: dict[str, float] = {}
    later: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            passed = time.perf_counter() - start
            if turn:
                later[name].append(passed)
            else:
                first[name] = passed
    return {name: (first[name], statistics.median(later[name])) for name in functions}


def table(title: str, times: dict[str, tuple[float, float]], base: str) -> None:
    click.echo(f"\n{title}\n\n| | seconds | ratio to {base} | first call, s |\n| --- | --- | --- | --- |")
    for name, (first, median) in times.items():
        click.echo(f"| {name} | {median:.3f} | {median / times[base][1]:.2f} | {first:.2f} |")


@click.group()
def main() -> None:
    """Benchmarks of the migrator."""


@main.command()
@click.option("--model", "models", multiple=True, default=["resnet18", "vit_b_16"])
@click.option("--side", default=224)
@click.option("--batch", default=8)
@click.option("--rows", default=4, help="Examples of which gradients are taken at once.")
@click.option("--repeats", default=5)
def speed(models: tuple[str, ...], side: int, batch: int, rows: int, repeats: int) -> None:
    """Forward passes and per-example gradients in float32, beside torch eager."""
    click.echo(f"torch {torch.__version__} on {torch.get_num_threads()} threads, jax {jax.__version__}")
    for name in models:
        torch.manual_seed(SEED)
        module = build(name, None).module
        x = np.random.default_rng(SEED).standard_normal((batch, 3, side, side)).astype(np.float32)
        forward, _, _ = torch_side(module, x)
        _, by_vmap, by_loop = torch_side(module, x[:rows])
        wholes, parts = jax_sides(module, x), jax_sides(module, x[:rows])
        click.echo(f"\n### {name}, {side} x {side}")
        click.echo(", ".join(f"{side} converted in {seconds:.2f} s" for side, (_, _, seconds) in wholes.items()))
        forwards = {"torch eager": forward} | {side: call for side, (call, _, _) in wholes.items()}
        table(f"Forward pass of {batch}", in_turns(forwards, repeats), "torch eager")
        gradients = {"torch vmap(grad)": by_vmap, "torch loop": by_loop}
        gradients |= {side: call for side, (_, call, _) in parts.items()}
        table(f"Gradients of each of {rows} examples", in_turns(gradients, repeats), "torch vmap(grad)")


def difference(found: dict[str, Any], expected: dict[str, np.ndarray]) -> float:
    """Largest difference of any parameter's gradient, relative to the largest number in any of them."""
    scale = max(float(np.abs(value).max()) for value in expected.values())
    return max(float(np.abs(np.asarray(found[name]) - value).max()) for name, value in expected.items()) / scale


def by_port(module: nn.Module, x: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    port = migrate(module, torch.from_numpy(x))
    rest = {name: value for name, value in port.variables.items() if name != "params"}

    def total(params: Any) -> Any:
        y = port.apply_fn({**rest, "params": params}, x)
        return (y**2).sum(), y

    (_, y), slopes = jax.value_and_grad(total, has_aux=True)(port.variables["params"])
    wanted = [b for b in port.graph.bindings if b.collection == "params"]
    return y, {b.key: to_torch_order(b, get({"params": slopes}, b)) for b in wanted}


def by_torchax(module: nn.Module, x: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    found = torchax_function(module)
    if found is None:
        raise ImportError("torchax is not installed")
    weights, function = found
    params, others = split(module, weights)

    def total(p: Any) -> Any:
        y = function({**others, **p}, (jax.numpy.asarray(x),))
        return (y**2).sum(), y

    (_, y), slopes = jax.value_and_grad(total, has_aux=True)(params)
    return y, slopes


@main.command()
@click.option("--architecture", "architectures", multiple=True, default=["resnet18", "squeezenet1_1", "vit_b_32"])
def gradients(architectures: tuple[str, ...]) -> None:
    """Outputs and the gradient of the sum of their squares, in float64 against torch's autograd."""
    jax.config.update("jax_enable_x64", True)
    torch.set_default_dtype(torch.float64)
    sys.path.insert(0, str(TESTS))
    tests = importlib.import_module("test_modules")
    cases = {name: (build_, tests.inputs(shape)[:2]) for name, (build_, shape) in tests.MODULES.items()}
    rng = np.random.default_rng(SEED)
    for name in architectures:
        side = 224 if name.startswith("vit") else 64
        cases[name] = (lambda name=name: build(name, None).module, rng.standard_normal((2, 3, side, side)))
    click.echo("| module | port: outputs | gradients | torchax: outputs | gradients |\n| --- | --- | --- | --- | --- |")
    for name, (make, inputs) in cases.items():
        torch.manual_seed(SEED)
        module = make().eval()
        x = inputs.astype(np.float64) if inputs.dtype.kind == "f" else inputs
        y = copy.deepcopy(module)(torch.from_numpy(x))
        tensors = {key: value for key, value in module.named_parameters() if value.requires_grad}
        truth = module(torch.from_numpy(x))
        found = torch.autograd.grad((truth**2).sum(), list(tensors.values()), allow_unused=True, materialize_grads=True)
        expected = {key: value.numpy() for key, value in zip(tensors, found, strict=True)}
        cells = []
        for convert in (by_port, by_torchax):
            try:
                values, slopes = convert(copy.deepcopy(module), x)
                cells += [f"{relative(values, y.detach()):.1e}", f"{difference(slopes, expected):.1e}"]
            except Exception as error:  # whatever a converter raises is its result
                reason = " ".join(str(error).split())[:60].replace("|", "/")
                cells += [f"{type(error).__name__}: {reason}", ""]
        click.echo(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
