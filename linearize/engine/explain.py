"""A plan as a table that a person can check: what every layer costs, in which way, and what it keeps."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from common.memory import shown
from linearize.engine.plan import Plan
from linearize.engine.work import Planned, Work

GEMM = 1024
REPEATS = 5
BROADCASTS = {"add", "sub", "mul", "neg"}
"""Primitives whose own derivative is as good as any rule."""
HEADINGS = ("site", "parameters", "size", "method", "GFLOP", "kept", "seconds")


class Row(NamedTuple):
    """One unit of the plan.

    Args:
        site: the layer and its shape.
        parameters: names of the parameter arrays.
        size: their entries.
        method: how their share of Θ is made.
        flops: multiplications and additions over all examples and pairs.
        kept: bytes of features for all examples.
        seconds: predicted from the speed of one matrix product.

    """

    site: str
    parameters: str
    size: int
    method: str
    flops: float
    kept: int
    seconds: float


def gemm_rate() -> float:
    """Measure this machine's float32 matrix product, in floating-point operations a second."""
    a = jnp.ones((GEMM, GEMM), jnp.float32)
    product = jax.jit(lambda x: x @ x)
    product(a).block_until_ready()
    best = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        product(a).block_until_ready()
        best = min(best, time.perf_counter() - started)
    return 2 * GEMM**3 / best


def rows(plan: Plan, rate: float) -> Iterator[Row]:
    """Yield every unit of a plan.

    Args:
        plan: as ``plan_ntk`` returns it.
        rate: floating-point operations a second of a matrix product, as ``gemm_rate`` measures it.

    """
    work = plan.work
    examples = work.size.examples
    itemsize = work.tape.program.shapes[work.tape.program.output].dtype.itemsize
    for planned in work.units:
        cost = examples * work.tape.rows * planned.cost.once + work.pairs * planned.cost.pair
        yield Row(
            planned.unit.label,
            ", ".join(planned.unit.names),
            planned.unit.size,
            planned.reason,
            2 * _multiplications(work, planned),
            examples * work.tape.rows * planned.cost.entries * itemsize,
            2 * cost / rate,
        )


def _multiplications(work: Work, planned: Planned) -> float:
    unit, tape = planned.unit, work.tape
    if planned.method == "ghost" and unit.factors:
        return float(work.pairs) * (unit.factors.multiplications + unit.factors.meetings)
    made = sum(site.multiplications for site in unit.sites) * tape.outputs
    return float(work.size.examples) * made + float(work.pairs) * unit.size * tape.copies


def table(plan: Plan) -> str:
    """Write a plan as a table with its totals, its memory and what it fell back on."""
    rate = gemm_rate()
    listed = list(rows(plan, rate))
    cells = [
        (row.site, _short(row.parameters), f"{row.size:,}", row.method, f"{row.flops / 1e9:.3g}", shown(row.kept),
         f"{row.seconds:.3g}") for row in listed
    ]  # fmt: skip
    work = plan.work
    passes = 2 * work.total_cost / rate
    backward = passes - sum(row.seconds for row in listed)
    cells.append(("forward and backward passes", "", "", f"{len(work.chunks)}×", "", "", f"{max(backward, 0):.3g}"))
    totals = (f"{sum(r.size for r in listed):,}", "", f"{sum(r.flops for r in listed) / 1e9:.3g}")
    cells.append(("total", "", *totals, shown(sum(r.kept for r in listed)), f"{passes:.3g}"))
    widths = [max(len(row[at]) for row in (HEADINGS, *cells)) for at in range(len(HEADINGS))]
    lines = ["  ".join(_aligned(row, widths)) for row in (HEADINGS, *cells)]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines.insert(-1, lines[1])
    layout = work.layout
    lines += [
        "",
        plan.summary(),
        f"blocks of {layout.block} examples, differentiated {layout.micro} at a time; seconds predicted at "
        f"{rate / 1e9:.0f} GFLOP/s, this machine's matrix product",
    ]
    return "\n".join([*(line.rstrip() for line in lines), *fallbacks(plan), *_unused(plan)])


def fallbacks(plan: Plan) -> list[str]:
    """Say which parameters meet data in primitives that the engine has no rule for."""
    named: dict[str, list[str]] = {}
    for planned in plan.work.units:
        for site in planned.unit.sites:
            equation = getattr(site, "equation", None)
            if equation is not None and equation.name not in BROADCASTS:
                named.setdefault(equation.name, []).extend(planned.unit.names)
    return [
        f"no rule for {primitive}: differentiated one example at a time for {_short(', '.join(dict.fromkeys(names)))}"
        for primitive, names in named.items()
    ]


def _unused(plan: Plan) -> list[str]:
    unused = plan.work.tape.unused
    return [f"the outputs do not depend on {_short(', '.join(unused))}"] if unused else []


def _aligned(row: tuple[str, ...], widths: list[int]) -> list[str]:
    text = (0, 1, 3)  # columns that are no numbers
    pairs = enumerate(zip(row, widths, strict=True))
    return [cell.ljust(width) if at in text else cell.rjust(width) for at, (cell, width) in pairs]


def _short(text: str, longest: int = 60) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
