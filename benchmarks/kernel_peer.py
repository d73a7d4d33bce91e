"""`kernel.py peer`: the engine against neural-tangents and plain code, on the same network, inputs and arithmetic."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import click
import jax
import jax.numpy as jnp
import numpy as np
import torch
from kernel_common import (
    CLASSES,
    Port,
    Times,
    forget,
    header,
    images,
    in_turns,
    port,
    precisions,
    relative,
    seconds,
    table,
)

from common.memory import available_memory, shown
from linearize import LinearizeError, empirical_ntk
from linearize.engine.execute import arithmetic
from linearize.engine.plan import Plan
from linearize.kernel import compute_ntk
from linearize.neural_tangents import import_neural_tangents
from linearize.options import KernelOptions
from linearize.types import Precision
from trainer.threads import with_threads

IMPLEMENTATIONS = {1: "JACOBIAN_CONTRACTION", 2: "NTK_VECTOR_PRODUCTS", 3: "STRUCTURED_DERIVATIVES"}
COLUMNS = ("", "first call, s", "warm, s", "time / engine's", "Θ against the engine's")


class Peer(NamedTuple):
    """One way of neural-tangents: the implementation, and whether it is told that examples are independent."""

    implementation: int
    vmap_axes: int | None

    def __str__(self) -> str:
        return f"NT {self.implementation} {IMPLEMENTATIONS[self.implementation]}, vmap_axes={self.vmap_axes}"


PEERS = [Peer(implementation, axes) for implementation in IMPLEMENTATIONS for axes in (0, None)]


def theirs(net: Port, peer: Peer) -> Callable[..., Any]:
    """neural-tangents' kernel of the sum of logits."""
    rest = {name: value for name, value in net.variables.items() if name != "params"}

    def g(params: Any, x: Any) -> Any:
        return net.apply_fn({**rest, "params": params}, x).sum(1, keepdims=True) / np.sqrt(CLASSES)

    nt = import_neural_tangents()
    return nt.empirical_ntk_fn(g, vmap_axes=peer.vmap_axes, implementation=peer.implementation)


class Refused(NamedTuple):
    """A way that cannot run here, and why."""

    reason: str


def compiled(net: Port, peer: Peer, x: np.ndarray, precision: Precision) -> tuple[Callable[[], Any], float] | Refused:
    """One call of neural-tangents, and the seconds that it took to compile; refused before memory runs out."""
    params = net.variables["params"]

    def compile_() -> Any:
        return jax.jit(theirs(net, peer)).lower(x, None, params).compile()

    made: list[Any] = []
    with arithmetic(precision):
        try:
            taken = seconds(lambda: made.append(compile_()))
        except Exception as error:  # whatever it raises is its result
            return Refused(f"{type(error).__name__}: {' '.join(str(error).split())[:80]}".replace("|", "/"))
    account = made[0].memory_analysis()
    needed = account.temp_size_in_bytes if account else 0
    if jax.default_backend() == "cpu" and needed > available_memory():
        return Refused(f"out of memory ({shown(needed)})")
    return lambda: made[0](x, None, params), taken


def ours(net: Port, x: np.ndarray, precision: Precision, theta: dict[str, np.ndarray]) -> dict[str, Callable[[], Any]]:
    """The engine from inputs to Θ, and with its plan at hand, as a compiled function of neural-tangents is."""
    settings = KernelOptions(precision=precision)

    plans: list[Plan] = []

    def whole() -> None:
        theta["engine"] = empirical_ntk(net.apply_fn, net.variables, x, options=settings, on_plan=plans.append)

    return {"engine": whole, "engine, plan at hand": lambda: compute_ntk(plans[-1], net.variables, x)}


def plain(net: Port, x: np.ndarray) -> dict[str, Callable[[], Any]]:
    """What one would write by hand: every example's gradient, then one product, in `torch.func` and in JAX."""
    rest = {name: value for name, value in net.variables.items() if name != "params"}
    params, kept = dict(net.module.named_parameters()), dict(net.module.named_buffers())
    inputs, scale = torch.from_numpy(x), float(np.sqrt(CLASSES))

    def of_torch(params: Any, example: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(net.module, (params, kept), (example[None],)).sum() / scale

    def in_torch(threads: int) -> np.ndarray:
        with with_threads(threads), torch.no_grad():
            gradients = torch.func.vmap(torch.func.grad(of_torch), (None, 0))(params, inputs)
            J = torch.cat([gradient.reshape(len(x), -1) for gradient in gradients.values()], 1)
            return (J @ J.T).numpy()

    def of_jax(params: Any, example: Any) -> Any:
        return net.apply_fn({**rest, "params": params}, example[None]).sum() / scale

    @jax.jit
    def in_jax(params: Any, x: Any) -> Any:
        gradients = jax.vmap(jax.grad(of_jax), (None, 0))(params, x)
        J = jnp.concatenate([leaf.reshape(len(x), -1) for leaf in jax.tree.leaves(gradients)], 1)
        return jnp.matmul(J, J.T, precision="highest")

    threads = sorted({1, torch.get_num_threads()})
    ways = {f"torch.func, vmap(grad), {n} thread{'s'[: n > 1]}": partial(in_torch, n) for n in threads}
    return {**ways, "JAX, jit(vmap(grad))": lambda: in_jax(net.variables["params"], x)}


def one_call(net: Port, n: int, precision: Precision) -> Peer:
    """One call of every implementation; returns the best."""
    forget()
    x, theta = images(n), dict[str, np.ndarray]()
    calls, extra, refused = ours(net, x, precision, theta), dict[str, float](), dict[str, str]()
    for peer in PEERS:
        made = compiled(net, peer, x, precision)
        if isinstance(made, Refused):
            refused[str(peer)] = made.reason
            continue
        call, extra[str(peer)] = made
        calls[str(peer)] = partial(keep, theta, str(peer), call)
    if jax.default_backend() == "cpu":
        calls |= {name: partial(keep, theta, name, call) for name, call in plain(net, x).items()}
    times = in_turns(calls)
    click.echo(f"### One call: {net}, N = {n}, {precision}\n")
    rows = [
        row(name, time._replace(first=time.first + extra.get(name, 0)), times["engine"], theta)
        for name, time in times.items()
    ]
    table(COLUMNS, [*rows, *((name, reason, "", "", "") for name, reason in refused.items())])
    best = min((peer for peer in PEERS if str(peer) in times), key=lambda peer: times[str(peer)].warm)
    ratio = times[str(best)].over(times["engine"])
    click.echo(f"The best of neural-tangents, {best}: {ratio:.2f} times the engine's time.\n")
    return best


def keep(theta: dict[str, np.ndarray], name: str, call: Callable[[], Any]) -> None:
    theta[name] = np.asarray(call())


def row(name: str, time: Times, base: Times, theta: dict[str, np.ndarray]) -> tuple[str, ...]:
    apart = f"{relative(theta[name], theta['engine']):.1e}" if name in theta and name != "engine" else ""
    return name, f"{time.first:.2f}", f"{time.warm:.4f}", f"{time.over(base):.2f}", apart


def divisor(n: int, most: int) -> int:
    """The largest batch size that neural-tangents allows: one that divides n."""
    return max(size for size in range(1, min(most, n) + 1) if n % size == 0)


class Batching(NamedTuple):
    """One setting of `nt.batch`."""

    peer: Peer
    size: int
    on_device: bool

    def __str__(self) -> str:
        kept = "" if self.on_device else ", store_on_device=False"
        return f"nt.batch of NT {self.peer.implementation}, batch {self.size}{kept}"

    def kernel(self, net: Port, precision: Precision) -> Callable[..., Any]:
        """The batched kernel of two sets of inputs."""
        function = import_neural_tangents().batch(
            theirs(net, self.peer), self.size, device_count=0, store_on_device=self.on_device
        )

        def evaluate(x: np.ndarray, x2: np.ndarray | None = None) -> Any:
            with arithmetic(precision):
                return function(x, x2, net.variables["params"])

        return evaluate


def batched(net: Port, n: int, sizes: tuple[int, ...], precision: Precision) -> Batching:
    """`nt.batch` over implementations, batch sizes and stores against the engine; returns the best setting."""
    forget()
    x, theta = images(n), dict[str, np.ndarray]()

    def call(way: Batching) -> dict[str, Callable[[], Any]]:
        return {str(way): partial(keep, theta, str(way), partial(way.kernel(net, precision), x))}

    peers = [Peer(1, 0), Peer(3, 0)]  # vmap_axes=0 was the faster by far wherever both were measured
    ways = [Batching(peer, divisor(n, size), True) for peer in peers for size in sizes]
    calls = {"engine": ours(net, x, precision, theta)["engine"]}
    times = in_turns(calls | {name: one for way in ways for name, one in call(way).items()})
    ways.append(min(ways, key=lambda way: times[str(way)].warm)._replace(on_device=False))
    times |= in_turns(call(ways[-1]))
    best = min(ways, key=lambda way: times[str(way)].warm)
    click.echo(f"### nt.batch: {net}, N = {n}, {precision}\n")
    table(COLUMNS, [row(name, time, times["engine"], theta) for name, time in times.items()])
    click.echo(f"The best, {best}: {times[str(best)].over(times['engine']):.2f} times the engine's time.\n")
    return best


def pool(net: Port, n: int, best: Batching, tiles: int, precision: Precision, *, full: bool) -> None:
    """A pool's whole kernel; without `full` neural-tangents' time is extrapolated from its first tiles."""
    forget()
    x, theta = images(n), dict[str, np.ndarray]()
    way = best._replace(size=divisor(n, best.size))
    engine = seconds(ours(net, x, precision, theta)["engine"])
    every = (n // way.size) ** 2
    taken = every if full else min(tiles, n // way.size)
    kernel, note = way.kernel(net, precision), "" if full else f", extrapolated from {taken} tiles of {every}"
    edge = x[: way.size]
    first = seconds(lambda: kernel(edge, edge))
    x1, x2 = (x, None) if full else (edge, x[: taken * way.size])
    peer = first + seconds(partial(keep, theta, "peer", partial(kernel, x1, x2))) * every / taken
    rows, columns = theta["peer"].shape
    apart = relative(theta["peer"], theta["engine"][:rows, :columns])
    click.echo(f"### A pool: {net}, N = {n}, {precision}; compiling included\n")
    found = f"{peer:.1f}", f"{peer / engine:.2f}", f"{apart:.1e}"
    heads = ("", "s", "time / engine's", "Θ against the engine's")
    table(heads, [("engine", f"{engine:.1f}", "1.00", ""), (f"{way}{note}", *found)])


@click.command()
@click.option("--part", "parts", multiple=True, type=click.Choice(["cnn", "batch", "pool", "mlp"]), help="All of them.")
@click.option("--network", "networks", multiple=True, default=["resnet18-16", "wrn-16-2"], show_default=True)
@click.option("--examples", default=256, show_default=True, help="Of one call.")
@click.option("--tiles", default=8, help="Tiles of neural-tangents that a pool's time is extrapolated from.")
@click.option("--full", is_flag=True, help="Run neural-tangents on the whole pool: about an hour on 2 cores.")
@click.option("--small", is_flag=True, help="A smoke run; its ratios mean nothing.")
def peer(parts: tuple[str, ...], networks: tuple[str, ...], examples: int, tiles: int, full: bool, small: bool) -> None:
    """Θ against neural-tangents: one call, batches, a pool, an MLP."""
    warnings.filterwarnings("ignore")  # its own, on current Python and jax
    try:
        import_neural_tangents()
    except LinearizeError as error:
        raise click.ClickException(str(error)) from error
    header("Θ against neural-tangents")
    single, several, pooled, sizes = (8, 8, 12, (4, 8)) if small else (examples, 512, 5000, (64, 128, 256))
    cnns = ("tiny",) if small else networks
    for precision in precisions():
        for net in map(port, cnns):
            if not parts or "cnn" in parts:
                one_call(net, single, precision)
            if not parts or {"batch", "pool"} & set(parts):
                best = batched(net, several, sizes, precision)
                if not parts or "pool" in parts:
                    pool(net, pooled, best, tiles, precision, full=full)
        if not parts or "mlp" in parts:
            one_call(port("tiny" if small else "mlp"), single, precision)
