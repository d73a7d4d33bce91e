"""The planner: the cheapest exact method for every unit, and passes over the parameters that fit the memory budget."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, inf, prod
from typing import NamedTuple

from linearize.engine.compute import Chunk, Piece, Segment
from linearize.engine.costs import TAPE, Cost, Method, cost, methods
from linearize.engine.program import bytes_of
from linearize.engine.sites import GenericSite
from linearize.engine.tape import Tape
from linearize.engine.units import Unit
from linearize.errors import MemoryBudgetError

NARROWEST, MOST_PIECES = 8192, 64
"""Columns of a piece: narrow ones multiply faster, many of them compile slowly."""
BLOCKS = ((4095, 256), (inf, 512))
"""Up to how many rows of Θ how many rows a block has: large tiles multiply faster and are padded more."""
CPU_BLOCKS = ((512, 128), (4095, 96), (inf, 320))
"""On a CPU small tiles multiply as fast, and are padded less: from 1100 to 1600 examples those of 96 rows compute 1.1
times the pairs on the average, those of 256 rows 1.45 times.  Few sizes: to compile anew whenever N grows takes longer
than the padding."""
EVEN = 4
"""Blocks of this many examples or more are a multiple of it: they can be differentiated in equal portions."""
CACHED = 24 * 2**20
"""Bytes that one micro-batch of a small network may use on a CPU: past 32 MiB the C library asks the system for fresh
pages every time, which makes memory-bound passes several times slower."""
WEIGHTS = 4
"""Large networks may use their parameters' bytes times this more: every micro-batch reads all the weights."""
THETA_BYTES = 8


class Size(NamedTuple):
    """How much of Θ is wanted.

    Args:
        left: examples of the rows.
        right: examples of the columns; None for the symmetric Θ(A, A).

    """

    left: int
    right: int | None = None

    @property
    def examples(self) -> int:
        """Examples that are differentiated."""
        return self.left + (self.right or 0)


class Planned(NamedTuple):
    """What was decided for one unit."""

    unit: Unit
    method: Method
    cost: Cost

    @property
    def reason(self) -> str:
        """The method, and for ``vjp`` the primitives that it differentiates."""
        if self.method != "vjp":
            return self.method
        names = {s.equation.name for s in self.unit.sites if isinstance(s, GenericSite)} or {"shared parameters"}
        return f"vjp ({', '.join(sorted(names))})"


class Layout(NamedTuple):
    """In which portions the examples are computed."""

    block: int  # examples whose features lie in one array
    micro: int  # examples differentiated at once


@dataclass(frozen=True)
class Work:
    """A plan without its memory: what is computed, in which passes and portions.

    Args:
        tape: the traced network.
        size: how much of Θ.
        units: the method of every unit.
        chunks: passes over the examples.
        layout: portions of examples.

    """

    tape: Tape
    size: Size
    units: tuple[Planned, ...]
    chunks: tuple[Chunk, ...]
    layout: Layout

    @property
    def blocks(self) -> tuple[int, int]:
        """Blocks of the rows and of the columns."""
        left = ceil(self.size.left / self.layout.block)
        return left, left if self.size.right is None else ceil(self.size.right / self.layout.block)

    def tiles(self) -> Iterator[tuple[int, int]]:
        """Positions of the tiles that are computed: the upper triangle of a symmetric Θ."""
        rows, columns = self.blocks
        for i in range(rows):
            yield from ((i, j) for j in range(i if self.size.right is None else 0, columns))

    @property
    def block_rows(self) -> int:
        """Rows of Θ in a block."""
        return self.layout.block * self.tape.rows

    @property
    def pairs(self) -> int:
        """Pairs of rows that are computed, padding and the tiles' lower halves included."""
        return sum(1 for _ in self.tiles()) * self.block_rows**2

    def fill_cost(self, chunk: Chunk) -> float:
        """Multiplications for one example's features in one pass."""
        made = {planned.unit: planned.cost.once for planned in self.units}
        return TAPE * forward_multiplications(self.tape) + self.tape.rows * sum(made[unit] for unit in chunk.units)

    def tile_cost(self, chunk: Chunk) -> float:
        """Multiplications for one tile in one pass."""
        costs = {planned.unit: planned.cost for planned in self.units}
        columns = sum(segment.stop - segment.start for piece in chunk.pieces for segment in piece)
        return float(self.block_rows**2) * (columns + sum(costs[unit].pair for unit in chunk.ghosts))

    @property
    def total_cost(self) -> float:
        """Multiplications of everything."""
        tiles = sum(1 for _ in self.tiles())
        padded = self.size.examples
        return sum(padded * self.fill_cost(chunk) + tiles * self.tile_cost(chunk) for chunk in self.chunks)


def choose(tape: Tape, size: Size, capacity: float = inf) -> tuple[Planned, ...]:
    """Pick the cheapest exact method of every unit.

    Where not all features fit into one pass, an entry costs its share of the further passes that it makes necessary:
    units whose factors are smaller than their gradients then go without gradients.

    Args:
        tape: the traced network.
        size: how much of Θ; rounded up to a power of two, so that a labelled set that grows keeps its plan.
        capacity: numbers that one pass can keep for a row.

    """
    examples = 1 << max(size.examples - 1, 0).bit_length()
    rows = examples * tape.rows
    pairs = rows * rows // 2

    def pick(price: float) -> tuple[Planned, ...]:
        planned = []
        for unit in tape.units:
            offers = [Planned(unit, method, cost(unit, method, tape.copies)) for method in methods(unit)]
            fitting = [offer for offer in offers if offer.method != "ghost" or offer.cost.entries <= capacity]
            planned.append(min(fitting, key=lambda p: p.cost.total(rows, pairs) + price * p.cost.entries))
        return tuple(planned)

    planned = pick(0)
    if sum(plan.cost.entries for plan in planned) <= capacity:
        return planned
    return pick(TAPE * forward_multiplications(tape) * examples / capacity)


def lay_out(
    tape: Tape, planned: Sequence[Planned], size: Size, block: int | None, transient: int, devices: int, *, cached: bool
) -> Layout:
    """Choose the portions of examples.

    Args:
        tape: the traced network.
        planned: the method of every unit.
        size: how much of Θ.
        block: examples of a block, when the user says so.
        transient: bytes that one micro-batch may use.
        devices: every portion is a multiple of this.
        cached: whether small tiles and portions that fit ``CACHED`` are as fast or faster, as on a CPU.

    """
    longest = max(size.left, size.right or 0)
    if block is None:
        rows = next(rows for most, rows in (CPU_BLOCKS if cached else BLOCKS) if longest * tape.rows <= most)
        block = max(rows // tape.rows, 1)
        block -= block % EVEN if block >= EVEN else 0
        while block >= 2 * longest and block % 2 == 0:
            block //= 2
    block = ceil(block / devices) * devices
    weights = sum(bytes_of(tape.program.shapes[number]) for number in tape.program.parameters)
    room = min(transient, (CACHED + WEIGHTS * weights) * devices) if cached else transient
    fitting = max(room // max(bytes_of_one(tape, with_gradients(planned)), 1), devices)
    micro = devices
    for candidate in range(devices, block + 1, devices):
        if block % candidate == 0 and candidate <= fitting:
            micro = candidate
    return Layout(block, micro)


def bytes_of_one(tape: Tape, units: Iterable[Unit]) -> int:
    """Bytes that one example's forward and backward pass takes, about: activations, the largest unit's gradient.

    Args:
        tape: the traced network.
        units: parameters with the sites where they meet data.

    """
    largest = max((unit.size for unit in units), default=0)
    itemsize = tape.program.shapes[tape.program.output].dtype.itemsize
    return tape.activation_bytes * tape.outputs + 2 * itemsize * largest * tape.copies


def with_gradients(planned: Sequence[Planned]) -> list[Unit]:
    """The units whose gradients are made, example by example."""
    return [plan.unit for plan in planned if plan.method != "ghost"]


def plan_passes(tape: Tape, planned: Sequence[Planned], row_bytes: float, itemsize: int) -> tuple[Chunk, ...]:
    """Cut the features into passes of at most ``row_bytes`` bytes a row, as few and as equal as possible.

    Args:
        tape: the traced network.
        planned: units with their methods.
        row_bytes: that the features of a row may take.
        itemsize: bytes of one feature.

    Raises:
        MemoryBudgetError: one ghost unit alone, or one column, is larger.

    """
    room = int(row_bytes // itemsize)
    items = _items(tape, planned, max(room, 1))
    largest = max((width for _, width, _ in items), default=0)
    if room < max(largest, 1):
        raise MemoryBudgetError(f"{largest * itemsize}")
    passes = len(_pack(items, room))
    least = max(ceil(sum(width for _, width, _ in items) / passes), largest) - 1
    while room - least > 1:  # the least room that needs no more passes
        middle = (least + room) // 2
        least, room = (least, middle) if len(_pack(items, middle)) == passes else (middle, room)
    chunks = _pack(items, room)
    return tuple(
        Chunk(
            tuple(piece for piece, _, ghost in chunk if ghost is None), tuple(g for _, _, g in chunk if g is not None)
        )
        for chunk in chunks
    )


Item = tuple[Piece, int, Unit | None]
"""A piece or a ghost, and the numbers that it keeps for a row."""


def _items(tape: Tape, planned: Sequence[Planned], widest: int) -> list[Item]:
    """Pieces in the order of the network, small units together and large ones cut; then ghosts."""
    columns = sum(plan.cost.entries for plan in planned if plan.method != "ghost")
    width = min(max(NARROWEST, ceil(columns / MOST_PIECES)), widest)
    items: list[Item] = []
    gathered: list[Segment] = []
    room = width
    for plan in planned:
        if plan.method == "ghost":
            items.append(((), plan.cost.entries, plan.unit))
            continue
        start, stop = 0, plan.unit.size * tape.copies
        while start < stop:
            taken = min(room, stop - start)
            gathered.append(Segment(plan.unit, start, start + taken))
            start, room = start + taken, room - taken
            if not room:
                items.append((tuple(gathered), width, None))
                gathered, room = [], width
    if gathered:
        items.append((tuple(gathered), width - room, None))
    return items


def _pack(items: Sequence[Item], room: int) -> list[list[Item]]:
    """Items in their order, in as few passes of at most ``room`` numbers a row as there can be."""
    chunks: list[list[Item]] = [[]]
    used = 0
    for item in items:
        if chunks[-1] and used + item[1] > room:
            chunks.append([])
            used = 0
        chunks[-1].append(item)
        used += item[1]
    return chunks


def forward_multiplications(tape: Tape) -> int:
    """Multiplications of matrix products and convolutions in one example's forward pass, by any operand."""
    total = 0
    for equation in tape.program.body:
        out = tape.program.shapes[equation.outputs[0]].shape
        shapes = [tape.program.shapes[o].shape if isinstance(o, int) else () for o in equation.inputs]
        if equation.name == "dot_general":
            (contract, _), _ = equation.source.params["dimension_numbers"]
            total += prod(out) * prod([shapes[0][axis] for axis in contract])
        elif equation.name == "conv_general_dilated":
            rhs = equation.source.params["dimension_numbers"][1]
            total += prod(out) * prod(shapes[1]) // shapes[1][rhs[0]]
    return total
