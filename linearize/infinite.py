"""The infinite-width neural tangent kernel of a twin architecture, by neural-tangents' ``stax``, in blocks.

Everything is float64: the angle between two nearly equal images has the square root of the rounding error.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

from common.memory import MIB, shown
from linearize.errors import LinearizeError, MemoryBudgetError, NonFiniteError
from linearize.infinite_twin import Flatten, Twin, to_stax
from linearize.neural_tangents import import_neural_tangents
from linearize.options import budget_of
from linearize.types import Float64, Kernel, Progress

LARGEST_BLOCK, BLOCK_BYTES = 64, 256 * MIB
"""Larger blocks were no faster on a CPU."""
FLOP_LIMIT = 1e15
"""About two days on one core, at the 6 GFLOP/s that were measured."""


class InfinitePlan(NamedTuple):
    """How an infinite kernel is computed.

    Args:
        shape: (N, M) of the kernel.
        symmetric: whether only the blocks on and above the diagonal are computed.
        block: rows and columns of a block.
        temporary: bytes that a block takes, as the compiler tells.
        bytes: those and the kernel's.
        flops: of all blocks.
        all_pairs: whether the covariances of all pairs of pixels are computed.

    """

    shape: tuple[int, int]
    symmetric: bool
    block: tuple[int, int]
    temporary: int
    bytes: int
    flops: float
    all_pairs: bool

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """Yield the rows and columns of every block; the last ones start early enough to be as large."""
        for rows in _slices(self.shape[0], self.block[0]):
            for columns in _slices(self.shape[1], self.block[1]):
                if not self.symmetric or columns.stop >= rows.stop:
                    yield rows, columns

    @property
    def tiles(self) -> int:
        """How many blocks there are."""
        high, wide = (-(-n // size) for n, size in zip(self.shape, self.block, strict=True))
        return high * (high + 1) // 2 if self.symmetric else high * wide

    def summary(self) -> str:
        """One line for people."""
        pixels = "all pairs of pixels" if self.all_pairs else "pixels apart"
        size, block = (" × ".join(map(str, pair)) for pair in (self.shape, self.block))
        return (
            f"infinite-width kernel {size} in blocks of {block}, {pixels}, float64: {self.flops / 1e9:.0f} GFLOP, "
            f"{shown(self.bytes)}"
        )


def infinite_ntk(
    twin: Twin,
    x: np.ndarray,
    x2: np.ndarray | None = None,
    *,
    memory_budget: int | str | None = None,
    progress: Progress | None = None,
    on_plan: Callable[[InfinitePlan], None] | None = None,
    afterwards: int = 0,
) -> Float64:
    """Compute Θ∞(x, x2), the limit of the empirical kernel of one output as all widths go to infinity.

    Source: Jacot, Gabriel & Hongler 2018; Arora et al. 2019 for convolutions; computed as Novak et al. 2020.

    Args:
        twin: the architecture.
        x: images ``[N, C, H, W]``.
        x2: images of the columns ``[M, C, H, W]``; None for the symmetric Θ∞(x, x).
        memory_budget: bytes or a size; half of what is free by default.
        progress: called after every block; what it raises ends the computation.
        on_plan: called before anything is computed.
        afterwards: bytes that the caller needs once the kernel is there; the budget is for both.

    Returns:
        Θ∞ ``[N, M]``.

    Raises:
        LinearizeError: neural-tangents is missing, the images are no images, or it would take days.
        MemoryBudgetError: not even the kernel of two examples fits.
        NonFiniteError: a kernel entry is NaN or infinite.

    """
    for images in (x,) if x2 is None else (x, x2):
        if images.ndim != 4 or not len(images) or images.shape[1:] != x.shape[1:]:
            raise LinearizeError(f"infinite kernel: expected images [N, C, H, W] of one shape, got {images.shape}")
    columns = None if x2 is None else len(x2)
    plan, evaluate = _plan(twin, x.shape[1:], len(x), columns, memory_budget, afterwards)
    if on_plan:
        on_plan(plan)
    theta = np.empty(plan.shape)
    left, blocks = _prepared(twin, x), list(plan.blocks())
    right = left if x2 is None else _prepared(twin, x2)
    for done, (i, j) in enumerate(blocks):
        with jax.enable_x64(True):
            theta[i, j] = np.asarray(evaluate(left[i], right[j]))
        if x2 is None:
            theta[j, i] = theta[i, j].T
        if progress:
            progress(done + 1, len(blocks))
    if not np.isfinite(theta).all():
        raise NonFiniteError("the infinite kernel contains NaN or infinity: check the images")
    return theta


def infinite_kernel(
    twin: Twin,
    X: np.ndarray,
    pool: np.ndarray,
    *,
    memory_budget: int | str | None = None,
    progress: Progress | None = None,
    on_plan: Callable[[InfinitePlan], None] | None = None,
) -> Kernel:
    """Compute the blocks of Θ∞ over labelled ∪ pool; the arguments and errors are those of ``infinite_ntk``.

    Args:
        twin: the architecture.
        X: labelled images ``[L, C, H, W]``.
        pool: candidates ``[U, C, H, W]``.
        memory_budget: bytes or a size.
        progress: called after every block.
        on_plan: called before.

    """
    L = len(X)
    theta = infinite_ntk(
        twin,
        np.concatenate([X, pool]),
        memory_budget=memory_budget,
        progress=progress,
        on_plan=on_plan,
        afterwards=regression_bytes(L, len(pool)),
    )
    return Kernel(theta[:L, :L], theta[:L, L:], theta[L:, L:])


def regression_bytes(L: int, U: int) -> int:
    """Return the bytes that a regression on a given kernel takes beside it.

    Args:
        L: labelled images.
        U: candidates.

    """
    return 8 * (2 * L * L + L * U + U * U)


def plan_infinite(
    twin: Twin,
    shape: tuple[int, ...],
    N: int,
    M: int | None = None,
    *,
    memory_budget: int | str | None = None,
    afterwards: int = 0,
) -> InfinitePlan:
    """Plan and compile an infinite kernel without computing it.

    Args:
        twin: the architecture.
        shape: (C, H, W) of one image.
        N: rows.
        M: columns; None for a symmetric kernel.
        memory_budget: as of ``infinite_ntk``.
        afterwards: as of ``infinite_ntk``.

    Raises:
        LinearizeError: neural-tangents is missing, or it would take days.
        MemoryBudgetError: not even the kernel of two examples fits.

    """
    return _plan(twin, shape, N, M, memory_budget, afterwards)[0]


def _plan(
    twin: Twin, shape: tuple[int, ...], N: int, M: int | None, memory_budget: int | str | None, afterwards: int
) -> tuple[InfinitePlan, Any]:
    budget = budget_of(memory_budget)
    columns = N if M is None else M
    room = budget - 8 * N * columns - afterwards
    B = _first_guess(twin, shape, min(room, BLOCK_BYTES))
    while True:
        block = (min(B, N), min(B, columns))
        compiled = _compiled(twin, tuple(shape), block)
        account = compiled.memory_analysis()
        temporary = int(account.temp_size_in_bytes) if account else 0
        if temporary <= room:
            break
        if B == 1:
            needed = shown(temporary + budget - room)
            raise MemoryBudgetError(
                f"the infinite kernel of {N} × {columns} examples takes {needed} even one pair at a time, and the "
                f"memory budget is {shown(budget)}: raise it, or take fewer candidates or smaller images"
            )
        B //= 2
    plan = InfinitePlan((N, columns), M is None, block, temporary, temporary + budget - room, 0.0, twin.all_pairs)
    flops = _flops(compiled) * plan.tiles
    if flops > FLOP_LIMIT:
        pairs = ", since global average pooling needs the covariances of all pairs of pixels" if twin.all_pairs else ""
        raise LinearizeError(
            f"the infinite kernel of {N} × {columns} examples takes {flops / 1e12:.0f} TFLOP{pairs}; expected at most "
            f"{FLOP_LIMIT / 1e12:.0f}, about two days on one core: take fewer candidates, smaller images, or a network "
            "that flattens"
        )
    return plan._replace(flops=flops), compiled


def _slices(n: int, block: int) -> Iterator[slice]:
    for start in range(0, n, block):
        yield slice(min(start, n - block), min(start, n - block) + block)


def _first_guess(twin: Twin, shape: tuple[int, ...], room: int) -> int:
    """A power of two, from the covariances of the images alone: three arrays of them."""
    pixels = 1 if _flat(twin) else shape[1] * shape[2]
    pairs = room // (3 * 8 * (pixels**2 if twin.all_pairs else pixels))
    return min(LARGEST_BLOCK, 1 << max(math.isqrt(max(pairs, 1)).bit_length() - 1, 0))


def _flat(twin: Twin) -> bool:
    """Whether pixels are features from the start, so that only whole images have covariances."""
    return twin.layers[:1] == (Flatten(),)


def _prepared(twin: Twin, x: np.ndarray) -> Float64:
    """Images as ``to_stax`` takes them: ``[N, H, W, C]``, reversed; ``[N, d]`` where they are flattened at once."""
    images = np.asarray(x, np.float64)
    if _flat(twin):
        return images.reshape(len(x), -1)
    return np.ascontiguousarray(images[:, :, ::-1, ::-1].transpose(0, 2, 3, 1))


@lru_cache(maxsize=8)
def _compiled(twin: Twin, shape: tuple[int, int, int], block: tuple[int, int]) -> Any:
    """Compile the kernel of a block; neural-tangents warns of what it uses of jax, which is ours to know."""
    with warnings.catch_warnings(), jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        warnings.simplefilter("ignore")
        stax = import_neural_tangents().stax
        inner = Twin(twin.layers[1:]) if _flat(twin) else twin
        _, _, kernel_fn = to_stax(inner, shape, stax)
        one = (math.prod(shape),) if _flat(twin) else (shape[1], shape[2], shape[0])
        inputs = [jax.ShapeDtypeStruct((rows, *one), np.float64) for rows in block]
        return jax.jit(lambda a, b: kernel_fn(a, b, "ntk")).lower(*inputs).compile()


def _flops(compiled: Any) -> float:
    """What the compiler counts; 0 where it does not."""
    account = compiled.cost_analysis()
    return float((account[0] if isinstance(account, list) else account or {}).get("flops", 0.0))
