"""The empirical neural tangent kernel Θ(A, B), behind a few functions.

Θ(x, x') = ⟨∇_θ g(x), ∇_θ g(x')⟩ for a head g and the *trainable* parameters θ; frozen batch-norm statistics and other
collections are constants and are never differentiated.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linearize.engine import devices as engine_devices
from linearize.engine.compute import FeatureBlock
from linearize.engine.execute import arithmetic, features_bytes, kernel
from linearize.engine.plan import Plan, check_free_memory, prepare
from linearize.engine.tape import Tape, record, signature
from linearize.engine.work import Size
from linearize.errors import LinearizeError, NonFiniteError
from linearize.options import KernelOptions
from linearize.types import ApplyFn, Array, Float64, Precision, Progress, Variables

OUTPUTS_BLOCK, OUTPUTS_BYTES = 256, 2**28
STEPS = 1000


def plan_ntk(
    apply_fn: ApplyFn,
    variables: Variables,
    x: np.ndarray,
    x2: np.ndarray | None = None,
    options: KernelOptions | None = None,
    *,
    afterwards: int = 0,
) -> Plan:
    """Plan and compile a kernel without computing it.

    Args:
        apply_fn: the network in eval mode, ``(variables, x [B, ...]) -> [B, C]``.
        variables: its collections; only ``variables["params"]`` is differentiated.
        x: inputs ``[N, ...]``.
        x2: inputs of the columns ``[M, ...]``; None for the symmetric Θ(x, x).
        options: how.
        afterwards: bytes that the caller needs, Θ included, once it is computed; the budget is for both.

    Returns:
        The plan: the method of every layer, passes, portions, memory.

    Raises:
        LinearizeError: no inputs, or no trainable parameter.
        MemoryBudgetError: no plan keeps the budget.

    """
    options = options or KernelOptions()
    for name, inputs in (("x", x), ("x2", x2)):
        if inputs is not None and len(inputs) == 0:
            raise LinearizeError(f"kernel: expected at least one input, got none ({name})")
    if x2 is not None and x2.shape[1:] != x.shape[1:]:
        raise LinearizeError(f"kernel: expected inputs of one shape, got {list(x.shape[1:])} and {list(x2.shape[1:])}")
    with arithmetic(options.precision):
        tape = tape_of(apply_fn, *convert(variables, x, options.precision), options)
    plan = prepare(
        tape,
        Size(len(x), None if x2 is None else len(x2)),
        block=options.block,
        budget=options.budget,
        devices=engine_devices.use(options.devices),
        precision=options.precision,
        afterwards=afterwards,
    )
    check_free_memory(plan)
    return plan


def tape_of(apply_fn: ApplyFn, variables: Variables, x: np.ndarray, options: KernelOptions) -> Tape:
    """Trace a network for inputs like ``x``; call it inside ``arithmetic``.

    Args:
        apply_fn: the network.
        variables: its collections.
        x: inputs ``[N, ...]``, of which one is read.
        options: head, layers and precision.

    """
    hashable: Any = apply_fn
    x64 = jax.dtypes.canonicalize_dtype(np.float64) == np.float64
    return record(hashable, options.function, options.layers, signature(variables, x[0]), x64, options.precision)


def convert(variables: Variables, x: np.ndarray, precision: Precision) -> tuple[Variables, np.ndarray]:
    """Turn a network and inputs into float64 where that is the precision; call it inside ``arithmetic``.

    Args:
        variables: the network's collections.
        x: inputs ``[N, ...]``.
        precision: the arithmetic.

    """
    if precision != "float64":
        return variables, x

    def widened(array: Array) -> Array:
        return np.asarray(array, np.float64) if jnp.issubdtype(array.dtype, jnp.floating) else array

    return jax.tree.map(widened, dict(variables)), widened(x)


def empirical_ntk(
    apply_fn: ApplyFn,
    variables: Variables,
    x: np.ndarray,
    x2: np.ndarray | None = None,
    *,
    options: KernelOptions | None = None,
    progress: Progress | None = None,
    on_plan: Callable[[Plan], None] | None = None,
) -> Float64:
    """Compute the empirical NTK of a network over one or two sets of inputs.

    Θ(x, x') = ⟨∇_θ g(x), ∇_θ g(x')⟩.

    Source: Mohamadi, Bae & Sutherland 2022, below eq. 10 (eq. 4 for the limit); Mohamadi 2023, eqs. 3.1 and 3.2.

    One forward and backward pass records what every layer saw and what came back to it; every layer's share of Θ is
    then made by its cheapest exact method, in as many passes as the memory budget asks for.

    Args:
        apply_fn: the network in eval mode, ``(variables, x [B, ...]) -> [B, C]``.
        variables: its collections; only ``variables["params"]`` is differentiated.
        x: inputs ``[N, ...]``.
        x2: inputs of the columns ``[M, ...]``; None for the symmetric Θ(x, x).
        options: head, layers, precision, memory budget, devices.
        progress: called with ``(done, total)``, proportional to the time that is predicted.
        on_plan: called with the plan before anything is computed.

    Returns:
        Θ ``[N, M]``, or ``[N C, M C]`` for the head ``full``; accumulated over passes in float64.

    Raises:
        LinearizeError: no inputs, or no trainable parameter.
        MemoryBudgetError: the budget is too small for any plan.
        NonFiniteError: an entry is NaN or infinite.

    """
    plan = plan_ntk(apply_fn, variables, x, x2, options)
    if on_plan:
        on_plan(plan)
    return compute_ntk(plan, variables, x, x2, progress)


def compute_ntk(
    plan: Plan,
    variables: Variables,
    x: np.ndarray,
    x2: np.ndarray | None = None,
    progress: Progress | None = None,
    *,
    kept: list[FeatureBlock] | None = None,
) -> Float64:
    """Compute the kernel that a plan was made for.

    Args:
        plan: as ``plan_ntk`` made it for inputs of the same number and shape.
        variables: the network's collections.
        x: inputs ``[N, ...]``.
        x2: inputs of the columns ``[M, ...]``, or None.
        progress: called with ``(done, total)``, proportional to the time that is predicted.
        kept: features of ``x``, for other columns of the same plan; empty the first time.

    Returns:
        Θ, as ``empirical_ntk``.

    Raises:
        NonFiniteError: an entry is NaN or infinite.

    """
    spent, total = 0.0, plan.work.total_cost

    def advance(cost: float) -> None:
        nonlocal spent
        spent += cost
        if progress:
            progress(min(round(STEPS * spent / total), STEPS), STEPS)

    with arithmetic(plan.precision):
        wide, left = convert(variables, x, plan.precision)
        right = None if x2 is None else convert({}, x2, plan.precision)[1]
        theta = kernel(plan.work, wide, left, right, plan.devices, plan.precision, advance, kept)
    if not np.isfinite(theta).all():
        raise NonFiniteError("the kernel contains NaN or infinity: the network's gradients overflow at these weights")
    return theta


class Columns:
    """Columns Θ(A,·) for one set of inputs A after another; features of A are computed once where they fit.

    Args:
        plan: of Θ(A,B) for some B: its methods, passes and portions are taken for others, as many of them at once.
        variables: the network's collections.
        x: A ``[N, ...]``.

    """

    def __init__(self, plan: Plan, variables: Variables, x: np.ndarray) -> None:
        self._plan, self._variables, self._x = plan, variables, x
        with arithmetic(plan.precision):
            needed = plan.estimate + features_bytes(plan.work, plan.devices, plan.precision)
        self._kept = list[FeatureBlock]() if len(plan.work.chunks) == 1 and needed <= plan.budget else None

    def __call__(self, x2: np.ndarray, progress: Progress | None = None) -> Float64:
        """Return Θ(A,B) ``[N, M]``.

        Args:
            x2: B ``[M, ...]``.
            progress: as of ``compute_ntk``.

        Raises:
            NonFiniteError: an entry is NaN or infinite.

        """
        planned = self._plan.work.size.right or len(x2)  # more of them at once might not fit
        parts = []
        for start in range(0, len(x2), planned):
            some = x2[start : start + planned]
            plan = replace(self._plan, work=replace(self._plan.work, size=Size(len(self._x), len(some))))
            parts.append(compute_ntk(plan, self._variables, self._x, some, progress, kept=self._kept))
        return np.concatenate(parts, axis=1)


@partial(jax.jit, static_argnames=("apply_fn",))
def _forward(apply_fn: ApplyFn, variables: Variables, x: Array) -> Array:
    return apply_fn(variables, x)


def outputs_block(plan: Plan) -> int:
    """How many examples a forward pass may take at once beside a plan, for ``network_outputs``."""
    room = min(OUTPUTS_BYTES, plan.budget // 8) // max(plan.work.tape.activation_bytes, 1)
    return min(OUTPUTS_BLOCK, 1 << max(int(room).bit_length() - 1, 0))


def network_outputs(
    apply_fn: ApplyFn,
    variables: Variables,
    x: np.ndarray,
    *,
    block: int = OUTPUTS_BLOCK,
    precision: Precision = "float32",
) -> np.ndarray:
    """Evaluate f(x) in fixed-size blocks, the last one padded with its own last row: nothing recompiles.

    Args:
        apply_fn: the network in eval mode.
        variables: its Flax collections.
        x: inputs ``[N, ...]``.
        block: examples evaluated at once.
        precision: the arithmetic.

    Returns:
        Logits ``[N, C]``.

    Raises:
        NonFiniteError: an output is NaN or infinite.

    """
    rows = np.arange(-(-len(x) // block) * block).clip(max=len(x) - 1)
    with arithmetic(precision):
        variables, x = convert(variables, x, precision)
        blocks = (x[rows[start : start + block]] for start in range(0, len(rows), block))
        outputs = np.concatenate([np.asarray(_forward(apply_fn, variables, portion)) for portion in blocks])
    if not np.isfinite(outputs).all():
        raise NonFiniteError("the network's outputs contain NaN or infinity: train it again with a lower learning rate")
    return outputs[: len(x)]
