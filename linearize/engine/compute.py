"""The two compiled functions of the engine: features of a few examples, and one tile of Θ."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from linearize.engine.factored import Factors
from linearize.engine.tape import Tape
from linearize.engine.units import Unit
from linearize.types import Array

PAIRED_BYTES = 2**23
"""The two products of a ghost Gram are made in squares of this many bytes: they are read again at once."""


class Segment(NamedTuple):
    """Columns ``start:stop`` of one unit's features."""

    unit: Unit
    start: int
    stop: int


Piece = tuple[Segment, ...]
"""Features that are kept in one array: a few columns times all rows of a block."""


class Chunk(NamedTuple):
    """The units whose share of Θ is computed in one pass over the examples."""

    pieces: tuple[Piece, ...]
    ghosts: tuple[Unit, ...]

    @property
    def units(self) -> list[Unit]:
        """Everything that the backward pass must reach."""
        segments = [segment.unit for piece in self.pieces for segment in piece]
        return list(dict.fromkeys([*segments, *self.ghosts]))


class FeatureBlock(NamedTuple):
    """Features of one block of rows."""

    pieces: tuple[Array, ...]  # each [rows, columns]
    activations: tuple[Array, ...]  # each [positions..., rows, K]
    cotangents: tuple[Array, ...]  # each [positions..., rows, O]


def empty_block(tape: Tape, chunk: Chunk, rows: int, dtypes: Sequence[jnp.dtype], multiple: int) -> FeatureBlock:
    """Shapes of a block's features.

    Args:
        tape: the traced network.
        chunk: what is kept.
        rows: rows of Θ in a block.
        dtypes: of the pieces, then of everything else.
        multiple: columns are padded with zeros to a multiple of this.

    """
    *narrow, wide = dtypes
    widths = [sum(segment.stop - segment.start for segment in piece) for piece in chunk.pieces]
    pieces = [
        jax.ShapeDtypeStruct((rows, -(-width // multiple) * multiple), dtype)
        for width, dtype in zip(widths, narrow, strict=True)
    ]
    factors = [_factors(unit) for unit in chunk.ghosts]
    return FeatureBlock(
        tuple(pieces),
        tuple(jax.ShapeDtypeStruct((*f.inputs, rows, f.K), wide) for f in factors),
        tuple(jax.ShapeDtypeStruct((*f.outputs, rows, f.O * tape.copies), wide) for f in factors),
    )


def features(
    tape: Tape, chunk: Chunk, parameters: Sequence[Array], others: Sequence[Array], examples: Array
) -> tuple[list[Array], list[Array], list[Array]]:
    """Features of m examples: pieces ``[m', columns]``, A and G ``[positions..., m', channels]``, m' rows of Θ.

    Args:
        tape: the traced network.
        chunk: what one pass computes.
        parameters: trainable leaves.
        others: constant leaves.
        examples: ``[m, ...]``.

    """
    values = tape.prepare(parameters, others)
    direct = list(dict.fromkeys(segment.unit for piece in chunk.pieces for segment in piece))

    def one(example: Array) -> tuple[list[Array], list[Array], list[Array]]:
        operands, G = tape.tap(values, example, chunk.units)
        gradients = []
        for unit in direct:
            gradient = jax.vmap(lambda G, unit=unit: tape.gradient(unit, parameters, others, operands, G))(G)
            gradients.append(gradient.reshape(tape.rows, -1))  # [rows, copies · P_unit]
        activations, cotangents = [], []
        for unit in chunk.ghosts:
            assert unit.factored is not None
            at = unit.sites[0].position
            A = unit.factored.activations(operands[at])
            Gs = jax.vmap(unit.factored.cotangents)(G[at])  # [k, positions..., O]
            if tape.rows == 1:
                Gs = jnp.moveaxis(Gs, 0, -2)
                Gs = Gs.reshape(*Gs.shape[:-2], -1)[None]
            activations.append(jnp.broadcast_to(A, (tape.rows, *A.shape)))
            cotangents.append(Gs)
        return gradients, activations, cotangents

    gradients, activations, cotangents = jax.vmap(one)(examples)
    rows = examples.shape[0] * tape.rows
    by_unit = {unit: g.reshape(rows, -1) for unit, g in zip(direct, gradients, strict=True)}
    pieces = [
        jnp.concatenate([by_unit[segment.unit][:, segment.start : segment.stop] for segment in piece], axis=1)
        for piece in chunk.pieces
    ]

    def rows_inside(values: list[Array]) -> list[Array]:
        merged = [value.reshape(rows, *value.shape[2:]) for value in values]
        return [jnp.moveaxis(value, 0, -2) for value in merged]

    return pieces, rows_inside(activations), rows_inside(cotangents)


def fill(
    tape: Tape,
    chunk: Chunk,
    parameters: Sequence[Array],
    others: Sequence[Array],
    examples: Array,
    block: FeatureBlock,
    start: Array,
) -> FeatureBlock:
    """Write the features of m examples into a block, from row ``start`` on; the block is donated.

    Args:
        tape: the traced network.
        chunk: what one pass computes.
        parameters: trainable leaves.
        others: constant leaves.
        examples: ``[m, ...]``.
        block: to write into.
        start: the first row.

    """
    pieces, activations, cotangents = features(tape, chunk, parameters, others, examples)

    def written(old: Array, new: Array, axis: int) -> Array:
        zero = jnp.zeros((), start.dtype)
        where = [zero] * old.ndim
        where[axis % old.ndim] = start
        return lax.dynamic_update_slice(old, new.astype(old.dtype), where)

    return FeatureBlock(
        tuple(written(old, new, 0) for old, new in zip(block.pieces, pieces, strict=True)),
        tuple(written(old, new, -2) for old, new in zip(block.activations, activations, strict=True)),
        tuple(written(old, new, -2) for old, new in zip(block.cotangents, cotangents, strict=True)),
    )


def tile(chunk: Chunk, left: FeatureBlock, right: FeatureBlock, total: jnp.dtype, groups: int = 1) -> Array:
    """One tile of Θ, ``[rows, rows]``: the chunk's share of it; ``groups`` is the number of devices that make it.

    Args:
        chunk: what one pass computes.
        left: features of the rows.
        right: features of the columns.
        total: the type in which sums are accumulated.
        groups: devices that make it.

    """
    share = jnp.zeros(())
    for A, B in zip(left.pieces, right.pieces, strict=True):
        share = share + jnp.matmul(A, B.T, preferred_element_type=total)
    ghosts = zip(chunk.ghosts, left.activations, left.cotangents, right.activations, right.cotangents, strict=True)
    for unit, A, G, B, H in ghosts:
        # One after another: XLA would keep the products of all of them at once.
        waited, share = lax.optimization_barrier((A, share))
        share = share + ghost_gram(_factors(unit), waited, G, B, H, groups)
    return share


def squared_norms(
    tape: Tape,
    parameters: Sequence[Array],
    others: Sequence[Array],
    examples: Array,
    along: Array | None = None,
) -> Array:
    """Θ's diagonal for m examples, ``[m, rows]``: every unit's share by the cheaper of its two ways.

    Args:
        tape: the traced network.
        parameters: trainable leaves.
        others: constant leaves.
        examples: ``[m, ...]``.
        along: one sum of each example's outputs, by its weights ``[m, k]``, whose gradient is meant; the tape has a row
            for each output, and one number for each example comes back, ``[m, 1]``.

    """
    values = tape.prepare(parameters, others)

    def share(unit: Unit, operands: list[Array], G: list[Array]) -> Array:
        assert unit.factored is not None
        A, H = (value[..., None, :] for value in (unit.factored.activations(operands), unit.factored.cotangents(G)))
        return _ghost_square(_factors(unit), A, H, A, H)[0, 0]

    def one(example: Array, sums: Array | None) -> Array:
        operands, G = tape.tap(values, example, tape.units, sums)
        norms = jnp.zeros(tape.outputs if sums is None else len(sums))
        for unit in tape.units:
            at = unit.sites[0].position
            if by_factors(unit):
                norms = norms + jax.vmap(lambda G, unit=unit, at=at: share(unit, operands[at], G))(G[at])
                continue
            gradients = jax.vmap(lambda G, unit=unit: tape.gradient(unit, parameters, others, operands, G))(G)
            norms = norms + (gradients**2).sum(1)
        return norms if tape.rows == tape.outputs else norms.sum(keepdims=True)

    if along is None:
        return jax.vmap(lambda example: one(example, None))(examples)
    return jax.vmap(lambda example, sums: one(example, sums[None]))(examples, along)


def by_factors(unit: Unit) -> bool:
    """Whether a norm of a unit's gradient is cheaper without the gradient."""
    factors = unit.factors
    return factors is not None and factors.multiplications + factors.meetings < unit.sites[0].multiplications


def ghost_gram(factors: Factors, A: Array, G: Array, B: Array, H: Array, groups: int = 1) -> Array:
    """Σ_δ Σ_{t,t'} (A[t+δ] · B[t'+δ]) (G[t] · H[t']) for every pair of rows, without the gradients.

    Source: Goodfellow 2015 for T = 1; Rochette, Manoel & Tramel 2019 for convolutions.

    Args:
        factors: which positions meet.
        A: activations ``[inputs..., rows, K]``.
        G: gradients ``[outputs..., rows, O]``.
        B: the other block's activations.
        H: the other block's gradients.
        groups: equal portions of A's rows that are multiplied apart: where they lie on devices of their own, every
            device multiplies its own, which XLA does not find out from slices inside of a loop.

    Returns:
        The unit's share of one tile ``[rows, rows']``.

    """
    if factors.inputs == factors.outputs == (1,):
        return (A[0] @ B[0].T) * (G[0] @ H[0].T)
    if groups > 1:
        apart = jax.vmap(lambda a, g: ghost_gram(factors, a, g, B, H))(_cut(A, groups), _cut(G, groups))
        return apart.reshape(-1, apart.shape[-1])
    edge = _edge(factors, A, A.shape[-2])
    other = _edge(factors, A, B.shape[-2])
    n, m = A.shape[-2] // edge, B.shape[-2] // other
    if n == m == 1:
        return _ghost_square(factors, A, G, B, H)

    def square(at: Array) -> Array:
        a, g = (lax.dynamic_slice_in_dim(value, at // m * edge, edge, -2) for value in (A, G))
        b, h = (lax.dynamic_slice_in_dim(value, at % m * other, other, -2) for value in (B, H))
        return _ghost_square(factors, a, g, b, h)

    squares = lax.map(square, jnp.arange(n * m, dtype=jnp.int32))  # [n·m, edge, other]
    return squares.reshape(n, m, edge, other).transpose(0, 2, 1, 3).reshape(n * edge, m * other)


def _ghost_square(factors: Factors, A: Array, G: Array, B: Array, H: Array) -> Array:
    M, Q = _products(A, B), _products(G, H)  # [positions..., rows, positions..., rows']
    axes = len(factors.inputs)
    summed = (*range(axes), *range(axes + 1, 2 * axes + 1))
    share = jnp.zeros(())
    for inputs, outputs in factors.offsets:
        reads, writes = _slices(inputs), _slices(outputs)
        whole = slice(None)
        met = M[(*reads, whole, *reads)] * Q[(*writes, whole, *writes)]
        share = share + met.sum(summed)
    return share


def _products(A: Array, B: Array) -> Array:
    flat = A.reshape(-1, A.shape[-1]) @ B.reshape(-1, B.shape[-1]).T
    return flat.reshape(*A.shape[:-1], *B.shape[:-1])


def _slices(positions: tuple[range, ...]) -> tuple[slice, ...]:
    return tuple(slice(along.start, along.stop, along.step) for along in positions)


def _edge(factors: Factors, A: Array, rows: int) -> int:
    """Rows of a square whose products fit into ``PAIRED_BYTES``; a divisor of ``rows``."""
    positions = 1
    for size in factors.inputs:
        positions *= size
    edge = rows
    while edge % 2 == 0 and (edge * positions) ** 2 * A.dtype.itemsize > PAIRED_BYTES:
        edge //= 2
    return edge


def _cut(value: Array, parts: int) -> Array:
    """Cut the rows into parts and put the parts first: ``[parts, positions..., rows / parts, channels]``."""
    shape = (*value.shape[:-2], parts, value.shape[-2] // parts, value.shape[-1])
    return jnp.moveaxis(value.reshape(shape), -3, 0)


def _factors(unit: Unit) -> Factors:
    assert unit.factors is not None
    return unit.factors
