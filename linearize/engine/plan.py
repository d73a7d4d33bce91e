"""From a budget to a plan that keeps it: methods, passes and portions are chosen, compiled, their memory added up."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from common.memory import MIB, available_memory, resident_memory, shown
from linearize.engine.compute import PAIRED_BYTES
from linearize.engine.devices import Devices
from linearize.engine.execute import arithmetic, passes_bytes
from linearize.engine.tape import Tape
from linearize.engine.work import (
    THETA_BYTES,
    Size,
    Work,
    bytes_of_one,
    choose,
    lay_out,
    plan_passes,
    with_gradients,
)
from linearize.errors import MemoryBudgetError
from linearize.types import Precision

MOST_PASSES = 32
"""More passes over the examples than this would take longer than anybody waits."""
SQUARES = 5
"""Arrays of ``PAIRED_BYTES`` that a ghost Gram has alive at once."""
MARGIN = 2
"""What a budget that is too small is told to be, in estimates made before anything is compiled: it must then fit."""
ATTEMPTS = 6
RUNTIME = 2**25
"""What XLA's own threads and bookkeeping take beside a plan on the host; measured."""


@dataclass(frozen=True)
class Plan:
    """How one kernel is computed, and what memory that takes.

    Args:
        work: methods, passes and portions.
        devices: where.
        precision: in which arithmetic.
        budget: bytes allowed.
        estimate: bytes that features, temporaries, Θ and XLA itself take at the peak, on one device.

    """

    work: Work
    devices: Devices
    precision: Precision
    budget: int
    estimate: int

    def process_peak(self) -> int:
        """What this process will hold at the peak: what it holds now, and the plan's share on the host."""
        return resident_memory() + self.estimate

    def summary(self) -> str:
        """Say it in one line."""
        work, passes = self.work, len(self.work.chunks)
        parameters = sum(planned.unit.size for planned in work.units)
        ghosts = sum(planned.method == "ghost" for planned in work.units)
        columns = "" if work.size.right is None else f" × {work.size.right}"
        return (
            f"kernel of {work.size.left}{columns} examples, {parameters:,} parameters in {len(work.units)} units "
            f"({ghosts} without gradients), {passes} {'pass' if passes == 1 else 'passes'}, {self.precision} on "
            f"{self.devices.count} {self.devices.platform}: {shown(self.estimate)} of a budget of {shown(self.budget)}"
        )


@lru_cache(maxsize=64)
def prepare(
    tape: Tape,
    size: Size,
    *,
    block: int | None,
    budget: int,
    devices: Devices,
    precision: Precision,
    afterwards: int = 0,
) -> Plan:
    """Find the plan with the fewest passes that keeps the budget.

    Args:
        tape: the traced network.
        size: how much of Θ is wanted.
        block: examples of a block, when the user says so.
        budget: bytes.
        devices: where it is computed.
        precision: in which arithmetic.
        afterwards: bytes that the caller needs, Θ included, once the features are gone.

    Returns:
        The plan; everything that it runs is compiled.

    Raises:
        MemoryBudgetError: no plan keeps the budget; the message says what would.

    """
    itemsize = tape.program.shapes[tape.program.output].dtype.itemsize
    rows = [examples * tape.rows for examples in (size.left, size.right or size.left)]
    fixed = THETA_BYTES * rows[0] * rows[1] + (RUNTIME if devices.platform == "cpu" else 0)
    everything = choose(tape, size)
    smallest = devices.count * bytes_of_one(tape, with_gradients(everything))
    paired = [plan for plan in everything if plan.method == "ghost" and plan.unit.factors.inputs != (1,)]  # type: ignore[union-attr]
    squares = SQUARES * PAIRED_BYTES if paired else 0
    if afterwards > budget:
        raise _too_small(size, max(afterwards, fixed + MARGIN * max(smallest, squares)), budget)
    reserve = 0
    with arithmetic(precision):
        for _ in range(ATTEMPTS):
            room = budget - fixed - reserve
            layout = lay_out(tape, everything, size, block, room // 4, devices.count, cached=devices.platform == "cpu")
            kept_rows = layout.block * tape.rows * _blocks(size, layout.block)
            transient = layout.micro * bytes_of_one(tape, with_gradients(everything))
            for_rows = (room - max(transient, squares)) / kept_rows
            planned = choose(tape, size, max(for_rows / itemsize, 1))
            needed = sum(plan.cost.entries for plan in planned) * itemsize * kept_rows
            if for_rows <= 0 or needed / (for_rows * kept_rows) > MOST_PASSES:
                raise _too_small(
                    size, fixed + MARGIN * (reserve + max(smallest, squares) + needed / MOST_PASSES), budget
                )
            work = Work(tape, size, planned, plan_passes(tape, planned, for_rows, itemsize), layout)
            estimate = max(fixed + passes_bytes(work, devices, precision), afterwards)
            if estimate <= budget:
                break
            reserve = 2 * reserve + ceil((estimate - budget) * 1.1)
        else:
            raise _too_small(size, MARGIN * estimate, budget)
    return Plan(work, devices, precision, budget, estimate)


def check_free_memory(plan: Plan) -> None:
    """Refuse a plan that takes more than is free now.

    Args:
        plan: as it was made.

    Raises:
        MemoryBudgetError: the message says what is free.

    """
    free = available_memory()
    if plan.devices.platform == "cpu" and plan.estimate > free:
        raise MemoryBudgetError(
            f"the kernel of {plan.work.size.examples} examples would take {shown(plan.estimate)}, but {shown(free)} "
            "are free: lower the memory budget or score fewer candidates"
        )


def _blocks(size: Size, block: int) -> int:
    """Blocks of features that exist at once: all of the columns', and one of the rows' in a rectangle."""
    return ceil(size.left / block) if size.right is None else ceil(size.right / block) + 1


def _too_small(size: Size, enough: float, budget: int) -> MemoryBudgetError:
    return MemoryBudgetError(
        f"the kernel of {size.examples} examples does not fit into a memory budget of {shown(budget)}: "
        f"{shown(ceil(max(enough, budget * 1.1) / MIB) * MIB)} would do; raise the budget or score fewer candidates"
    )
