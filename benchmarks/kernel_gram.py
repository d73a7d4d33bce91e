"""`kernel.py gram` and `kernel.py calibrate`: the engine's compiled parts, each on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import click
import jax
import jax.numpy as jnp
import numpy as np
from kernel_common import Port, gemm_peak, header, images, in_turns, port, precisions, product, table
from scipy import optimize

from linearize.engine import costs
from linearize.engine.compute import Chunk, ghost_gram
from linearize.engine.devices import use
from linearize.engine.execute import LARGE_UNIT, arithmetic, compiled
from linearize.engine.tape import Tape, split
from linearize.engine.units import Unit
from linearize.engine.work import Layout, Planned, Size, choose, forward_multiplications, lay_out, plan_passes
from linearize.kernel import tape_of
from linearize.options import KernelOptions
from linearize.types import Precision

ITEMSIZE = 4
EXAMPLES, ROWS, MOST_PLACES = 16, 32, 256
"""Of `calibrate`: examples of one call, rows of a ghost's tile, positions of the largest layer that is tried."""


def tape(net: Port, precision: Precision) -> Tape:
    with arithmetic(precision):
        return tape_of(net.apply_fn, net.variables, images(1), KernelOptions(precision=precision))


def without_ghosts(recorded: Tape) -> tuple[Planned, ...]:
    """Every unit by its gradients, so that the Gram stage is matrix products alone."""
    ways = [(unit, costs.methods(unit)[0]) for unit in recorded.units]
    return tuple(Planned(unit, method, costs.cost(unit, method, recorded.copies)) for unit, method in ways)


def noise(shapes: Any) -> Any:
    """Normal numbers in every array."""
    leaves, structure = jax.tree.flatten(shapes)
    keys = jax.random.split(jax.random.key(0), max(len(leaves), 1))
    filled = [jax.random.normal(key, leaf.shape, leaf.dtype) for key, leaf in zip(keys, leaves, strict=False)]
    return jax.tree.unflatten(structure, filled)


class Stage(NamedTuple):
    """Seconds of one block's features and of one tile, with and without bringing it to the host; beside a product."""

    fill: float
    tile: float
    fetched: float
    products: float  # what a tile takes, in square products of the peak's size; the two take turns


def stage(net: Port, recorded: Tape, chunk: Chunk, layout: Layout, precision: Precision, size: int) -> Stage:
    devices = use()
    with arithmetic(precision):
        functions = compiled(recorded, chunk, layout, devices, precision)
        left, right = noise(functions.block), noise(functions.block)
        if devices.count > 1:
            left, right = (jax.device_put(side, devices.block(functions.block)) for side in (left, right))
        arrays = [devices.spread(array) for array in split(net.variables)]
        examples, blocks = devices.split(images(layout.micro)), [devices.zeros(functions.block)]

        def fill() -> Any:
            blocks[0] = functions.fill(*arrays, examples, blocks[0], devices.scalar(0))
            return blocks[0]

        calls: dict[str, Callable[[], Any]] = {
            "fill": fill,
            "product": product(size, precision),
            "tile": lambda: functions.tile(left, right),
            "fetched": lambda: devices.fetch(functions.tile(left, right)),
        }
        times = in_turns(calls, rounds=5)
    products = np.median(np.array(times["tile"].later) / times["product"].later)
    fill = times["fill"].warm * layout.block / layout.micro
    return Stage(fill, times["tile"].warm, times["fetched"].warm, float(products))


def layout_of(recorded: Tape, planned: tuple[Planned, ...], rows: int) -> Layout:
    cached = jax.default_backend() == "cpu"
    return lay_out(recorded, planned, Size(2 * rows), rows, 2**30, jax.device_count(), cached=cached)


def gram_rows(net: Port, edge: int, precision: Precision, size: int) -> Iterator[tuple[Any, ...]]:
    """One tile of `edge` rows, by matrix products of all features and as it is planned."""
    recorded = tape(net, precision)
    for name, planned in (("features", without_ghosts(recorded)), ("as planned", choose(recorded, Size(2 * edge)))):
        (chunk,) = plan_passes(recorded, planned, 2.0**40, ITEMSIZE)
        found = stage(net, recorded, chunk, layout_of(recorded, planned, edge), precision, size)
        flops = 2 * edge**2 * net.parameters
        label = f"{name}, {len(chunk.ghosts)} ghosts"
        seconds = f"{found.fill:.4f}", f"{found.tile:.4f}", f"{found.fetched:.4f}"
        yield (
            net,
            edge,
            label,
            *seconds,
            f"{flops / found.tile / 1e9:.1f}",
            f"{flops / (2 * size**3) / found.products:.0%}",
        )


@click.command()
@click.option("--network", "networks", multiple=True, default=["resnet18-16", "wrn-16-2", "mlp"], show_default=True)
@click.option("--small", is_flag=True, help="A smoke run; its ratios mean nothing.")
def gram(networks: tuple[str, ...], small: bool) -> None:
    """The Gram stage's share of the machine's own matrix product."""
    header("The Gram stage")
    heads = (
        "network",
        "tile",
        "Gram",
        "features of its rows, s",
        "one tile, s",
        "and fetched, s",
        "GFLOP/s",
        "share of peak",
    )
    for precision in precisions():
        peak = gemm_peak(precision, small=small)
        click.echo(
            f"Peak of a square product, {precision}: {peak.flops / 1e9:.1f} GFLOP/s at {peak.size}; the share is of "
            "that product taking turns with the tile.  GFLOP/s are those of the dense product "
            "of all features, also where no features are made (ghosts).\n"
        )
        edges = (16,) if small else (256, 512)
        tiles = ((port(name), edge) for name in (("tiny",) if small else networks) for edge in edges)
        table(heads, (cells for net, edge in tiles for cells in gram_rows(net, edge, precision, peak.size)))


class Probe(NamedTuple):
    """One unit on its own: what is predicted about it, and the measured time in multiplications."""

    unit: Unit
    feature: float  # of the whole of `once`
    meeting: float | None  # per meeting, where there is a ghost


def made(unit: Unit) -> int:
    """Multiplications of a unit's gradients."""
    return sum(site.multiplications for site in unit.sites)


def operands_of(recorded: Tape, unit: Unit) -> tuple[list[Any], list[Any]]:
    """Noise in the shapes of a unit's operands and of its outputs' gradients, for several examples."""
    equation = recorded.program.body[unit.sites[0].position]
    inputs = [recorded.program.shapes[number] for number in equation.inputs if isinstance(number, int)]
    outputs = [recorded.program.shapes[number] for number in equation.outputs]
    return tuple([jax.ShapeDtypeStruct((EXAMPLES, *s.shape), s.dtype) for s in side] for side in (inputs, outputs))  # type: ignore[return-value]


def probe(recorded: Tape, unit: Unit, speed: float) -> Probe:
    """Time a unit's features and ghost Gram; `speed` is multiplications a second of a large product."""
    assert unit.factored is not None
    operands, G = noise(operands_of(recorded, unit))
    make = jax.jit(jax.vmap(unit.factored.features))
    write = jax.jit(
        lambda block, operands, G: jax.lax.dynamic_update_slice(block, make(operands, G), (0, 0)), donate_argnums=0
    )
    blocks = [jnp.zeros((2 * EXAMPLES, unit.size), jnp.float32)]

    def features() -> Any:
        blocks[0] = write(blocks[0], operands, G)
        return blocks[0]

    calls: dict[str, Callable[[], Any]] = {"features": features}
    factors = unit.factors
    if factors and factors.inputs != (1,):
        A, H = noise(
            [
                jax.ShapeDtypeStruct((*places, ROWS, channels), jnp.float32)
                for places, channels in ((factors.inputs, factors.K), (factors.outputs, factors.O))
            ]
        )
        calls["ghost"] = partial(jax.jit(partial(ghost_gram, factors)), A, H, A, H)
    times = in_turns(calls)
    feature = times["features"].warm * speed / EXAMPLES
    if "ghost" not in times or factors is None:
        return Probe(unit, feature, None)
    pair = times["ghost"].warm * speed / ROWS**2
    return Probe(unit, feature, (pair - factors.multiplications) / factors.meetings)


@click.command()
@click.option("--network", "networks", multiple=True, default=["resnet18-16", "mlp"], show_default=True)
@click.option("--small", is_flag=True, help="A smoke run; its ratios mean nothing.")
def calibrate(networks: tuple[str, ...], small: bool) -> None:
    """The constants of linearize/engine/costs.py on this machine, beside those of the table."""
    header("Costs, in multiplications of a large matrix product")
    nets = [port(name) for name in (("tiny",) if small else networks)]
    speed, probes = gemm_peak("float32", small=small).flops / 2, list[Probe]()
    with arithmetic("float32"):
        for net in nets:
            large = [unit for unit in tape(net, "float32").units if unit.factored and unit.size > LARGE_UNIT]
            kinds = {unit.label: unit for unit in large}.values()
            within = [unit for unit in kinds if not unit.factors or np.prod(unit.factors.inputs) <= MOST_PLACES]
            probes += [probe(tape(net, "float32"), unit, speed) for unit in within]
        tap = tap_cost(nets[0], tape(nets[0], "float32"), speed)
    terms = np.array([[made(p.unit), p.unit.size] for p in probes], float)
    taken = np.array([p.feature for p in probes])
    (feature, store), _ = optimize.nnls(terms / taken[:, None], np.ones(len(probes)))
    meetings = [p.meeting for p in probes if p.meeting is not None]
    found = {
        "FEATURE": (feature, costs.FEATURE, f"{len(probes)} layers, relative least squares"),
        "STORE": (store, costs.STORE, "the same"),
        "MEET": (np.median(meetings or [0]), costs.MEET, f"median of {len(meetings)} layers"),
        "TAPE": (tap, costs.TAPE, f"{EXAMPLES} examples of {nets[0]}"),
    }
    table(("constant", "here", "in the table", "from"), [(k, f"{v[0]:.1f}", *v[1:]) for k, v in found.items()])
    heads = ("layer", "parameters", "features, per multiplication, storing included", "MEET")
    cells = [(f"{p.feature / made(p.unit):.1f}", "" if p.meeting is None else f"{p.meeting:.0f}") for p in probes]
    table(heads, [(p.unit.label, f"{p.unit.size:,}", *cell) for p, cell in zip(probes, cells, strict=True)])


def tap_cost(net: Port, recorded: Tape, speed: float) -> float:
    """A forward and backward pass with respect to the sites' outputs, in forward passes at the speed of a product."""
    parameters, others = split(net.variables)

    @jax.jit
    def tap(x: Any) -> Any:
        values = recorded.prepare(parameters, others)
        return jax.vmap(lambda one: recorded.tap(values, one, recorded.units)[1])(x)

    x = jnp.asarray(images(EXAMPLES))
    return in_turns({"tap": lambda: tap(x)})["tap"].warm * speed / EXAMPLES / forward_multiplications(recorded)
