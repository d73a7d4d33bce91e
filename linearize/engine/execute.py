"""Compiled functions, the memory that they take, and the host's loops over portions of examples."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common.memory import give_back_memory
from linearize.engine.compute import Chunk, FeatureBlock, empty_block, fill, tile
from linearize.engine.devices import Devices
from linearize.engine.tape import Tape, split
from linearize.engine.work import Layout, Work
from linearize.types import Array, Float64, Precision, Variables

LARGE_UNIT = 3000
"""Units with more parameters may be kept in bfloat16."""


@contextmanager
def arithmetic(precision: Precision) -> Iterator[None]:
    """Put a precision policy in force: accelerators would otherwise round the factors of products."""
    with ExitStack() as stack:
        stack.enter_context(
            jax.default_matmul_precision("tensorfloat32" if precision == "tensorfloat32" else "highest")
        )
        if precision == "float64":
            stack.enter_context(jax.enable_x64(True))
        yield


class Compiled(NamedTuple):
    """One pass's functions for one layout."""

    fill: Callable[..., FeatureBlock]
    tile: Callable[[FeatureBlock, FeatureBlock], Array]
    block: FeatureBlock  # shapes
    fill_bytes: int  # what `fill` takes beside its arguments
    tile_bytes: int

    @property
    def block_bytes(self) -> int:
        """Bytes of a block's features."""
        return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(self.block))


@lru_cache(maxsize=256)
def compiled(tape: Tape, chunk: Chunk, layout: Layout, devices: Devices, precision: Precision) -> Compiled:
    """Compile one pass; the same arguments give the same functions, so a run compiles once.

    Call it inside ``arithmetic(precision)``.

    Args:
        tape: the traced network.
        chunk: what one pass computes.
        layout: blocks and micro-batches.
        devices: where.
        precision: in which arithmetic.

    """
    dtype = tape.program.shapes[tape.program.output].dtype
    small = jnp.dtype(jnp.bfloat16)
    large = [max(segment.unit.size for segment in piece) > LARGE_UNIT for piece in chunk.pieces]
    dtypes = [small if precision == "bfloat16" and is_large else dtype for is_large in large]
    block = empty_block(tape, chunk, layout.block * tape.rows, [*dtypes, dtype], devices.count)
    shapes = tape.program.shapes
    parameters = [shapes[number] for number in tape.program.parameters]
    others = [shapes[number] for number in tape.program.others]
    example = shapes[tape.program.example]
    examples = jax.ShapeDtypeStruct((layout.micro, *example.shape), example.dtype)
    start = jax.ShapeDtypeStruct((), jnp.int32)

    def filled(parameters: Any, others: Any, examples: Array, block: FeatureBlock, start: Array) -> FeatureBlock:
        return fill(tape, chunk, parameters, others, examples, block, start)

    def tiled(left: FeatureBlock, right: FeatureBlock) -> Array:
        return tile(chunk, left, right, dtype)

    fill_options: dict[str, Any] = {"donate_argnums": 3}
    tile_options: dict[str, Any] = {}
    if devices.count > 1:
        same, rows, sharding = devices.replicated, devices.rows, devices.block(block)
        fill_options |= {"in_shardings": (same, same, rows, sharding, same), "out_shardings": sharding}
        tile_options |= {"in_shardings": (sharding, sharding), "out_shardings": same}
    filler = _jit(filled, fill_options).lower(parameters, others, examples, block, start).compile()
    tiler = _jit(tiled, tile_options).lower(block, block).compile()
    return Compiled(filler, tiler, block, _temporary(filler), _temporary(tiler))


def _jit(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    return jax.jit(function, **options)


def _temporary(executable: Any) -> int:
    """What a function allocates beside its arguments, by XLA's own account."""
    account = executable.memory_analysis()
    if account is None:
        return 0
    made = max(account.output_size_in_bytes - account.alias_size_in_bytes, 0)
    return int(account.temp_size_in_bytes + made)


def kernel(
    work: Work,
    variables: Variables,
    left: np.ndarray,
    right: np.ndarray | None,
    devices: Devices,
    precision: Precision,
    advance: Callable[[float], None],
    kept: list[FeatureBlock] | None = None,
) -> Float64:
    """Compute Θ(A, B), or Θ(A, A) where ``right`` is None, pass by pass; ``advance`` is told what was spent.

    Args:
        work: methods, passes and portions.
        variables: the network's collections.
        left: inputs A ``[N, ...]``.
        right: inputs B ``[M, ...]``, or None.
        devices: where.
        precision: in which arithmetic.
        advance: told what was spent.
        kept: features of A of a rectangle in one pass, by block: those that are there are not made again, the others
            are added.

    Returns:
        Θ ``[rows of A, rows of B]``, accumulated over passes in float64.

    """
    rows = work.layout.block * work.tape.rows
    shape = tuple(len(x) * work.tape.rows for x in (left, left if right is None else right))
    theta = np.zeros(shape)
    arrays = [devices.spread(array) for array in split(variables)]
    for chunk in work.chunks:
        functions = compiled(work.tape, chunk, work.layout, devices, precision)
        one_fill, one_tile = work.fill_cost(chunk), work.tile_cost(chunk)

        def block(x: np.ndarray, at: int, functions: Compiled = functions, one_fill: float = one_fill) -> FeatureBlock:
            portion = x[at * work.layout.block : (at + 1) * work.layout.block]
            return _fill(work, functions, arrays, portion, devices, lambda n: advance(n * one_fill))

        if len(work.chunks) > 1:  # the last pass's features, before those of the next
            give_back_memory()
        columns = [block(left if right is None else right, at) for at in range(work.blocks[1])]
        held: tuple[int, FeatureBlock] | None = None
        one: FeatureBlock | None = None
        for i, j in work.tiles():
            if right is None:
                one = columns[i]
            else:  # rows of a rectangle are made one block at a time and dropped
                if held is None or held[0] != i:
                    held = one = None
                    held = i, kept[i] if kept and i < len(kept) else block(left, i)
                    if kept is not None and i == len(kept):
                        kept.append(held[1])
                one = held[1]
            target = theta[i * rows : (i + 1) * rows, j * rows : (j + 1) * rows]
            share = devices.fetch(functions.tile(one, columns[j]))
            target += share[: target.shape[0], : target.shape[1]]
            advance(one_tile)
        del columns, held, one
    if right is None:
        _mirror(theta, rows)
    return theta


def _fill(
    work: Work,
    functions: Compiled,
    arrays: Sequence[Sequence[Array]],
    portion: np.ndarray,
    devices: Devices,
    advance: Callable[[int], None],
) -> FeatureBlock:
    """Features of a block's examples, a micro-batch at a time; what is missing to a whole block stays zero."""
    block = devices.zeros(functions.block)
    micro = work.layout.micro
    for start in range(0, len(portion), micro):
        wanted = np.arange(start, start + micro).clip(max=len(portion) - 1)
        examples = devices.split(portion[wanted])
        block = functions.fill(*arrays, examples, block, devices.scalar(start * work.tape.rows))
        jax.block_until_ready(block)  # so that Ctrl-C is heard and the progress is true
        advance(min(micro, len(portion) - start))
    return block


def _mirror(theta: Float64, rows: int) -> None:
    """Copy the upper triangle's tiles to the lower."""
    edges = range(0, len(theta), rows)
    for i in edges:
        for j in edges:
            if j > i:
                theta[j : j + rows, i : i + rows] = theta[i : i + rows, j : j + rows].T


def features_bytes(work: Work, devices: Devices, precision: Precision) -> int:
    """What the features of all rows take that ``kernel`` is asked to keep; call it as ``compiled``.

    Args:
        work: methods, passes and portions.
        devices: where.
        precision: in which arithmetic.

    """
    passes = [compiled(work.tape, chunk, work.layout, devices, precision) for chunk in work.chunks]
    return sum(one.block_bytes for one in passes) * work.blocks[0]


def passes_bytes(work: Work, devices: Devices, precision: Precision) -> int:
    """What ``kernel`` allocates beside Θ at its peak, by XLA's account of every pass; call it as ``compiled``.

    Args:
        work: methods, passes and portions.
        devices: where.
        precision: in which arithmetic.

    """
    blocks = work.blocks[1] + (0 if work.size.right is None else 1)
    passes = [compiled(work.tape, chunk, work.layout, devices, precision) for chunk in work.chunks]
    return max(one.block_bytes * blocks + max(one.fill_bytes, one.tile_bytes) for one in passes)
