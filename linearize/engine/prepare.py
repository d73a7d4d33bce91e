"""From a budget to a plan that keeps it: methods, passes and portions are chosen, compiled, their memory added up."""

from dataclasses import dataclass
from math import ceil

from linearize.engine.devices import Devices
from linearize.engine.execute import arithmetic, peak_bytes
from linearize.engine.plan import (
    THETA_BYTES,
    Planned,
    Size,
    Work,
    bytes_of_one,
    choose,
    lay_out,
    plan_passes,
    with_gradients,
)
from linearize.engine.tape import Tape
from linearize.errors import MemoryBudgetError
from linearize.memory import available_memory, resident_memory, shown
from linearize.types import Precision

MOST_PASSES = 64
"""More passes over the examples than this would take longer than anybody waits."""
ATTEMPTS = 6
RUNTIME = 2**25
"""What XLA's own threads and bookkeeping take beside a plan; measured."""


@dataclass(frozen=True)
class Plan:
    """How one kernel is computed, and what memory that takes.

    Args:
        work: methods, passes and portions.
        devices: where.
        precision: in which arithmetic.
        budget: bytes allowed.
        estimate: bytes that features, temporaries and Θ take at the peak, on one device.

    """

    work: Work
    devices: Devices
    precision: Precision
    budget: int
    estimate: int

    def process_peak(self) -> int:
        """What this process will hold at the peak: what it holds now, and the plan's share on the host."""
        return resident_memory() + self.estimate + RUNTIME

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
        MemoryBudgetError: no plan keeps the budget, or less than it takes is free; the message says what would fit.

    """
    itemsize = tape.program.shapes[tape.program.output].dtype.itemsize
    rows = [examples * tape.rows for examples in (size.left, size.right or size.left)]
    theta = THETA_BYTES * rows[0] * rows[1]
    everything = choose(tape, size)
    smallest = devices.count * bytes_of_one(tape, with_gradients(everything))
    if afterwards > budget:
        raise _too_small(size, afterwards, budget)
    reserve = 0
    with arithmetic(precision):
        for _ in range(ATTEMPTS):
            room = budget - theta - reserve
            layout = lay_out(tape, everything, size, block, room // 4, devices.count, cached=devices.platform == "cpu")
            kept_rows = layout.block * tape.rows * _blocks(size, layout.block)
            for_rows = (room - layout.micro * bytes_of_one(tape, with_gradients(everything))) / kept_rows
            planned = [_fitting(plan, for_rows / itemsize, tape) for plan in everything]
            needed = sum(plan.cost.entries for plan in planned) * itemsize * kept_rows
            if for_rows <= 0 or needed / (for_rows * kept_rows) > MOST_PASSES:
                floor = theta + reserve + smallest * 4 / 3 + needed / MOST_PASSES
                raise _too_small(size, floor, budget)
            work = Work(tape, size, tuple(planned), plan_passes(tape, planned, for_rows, itemsize), layout)
            estimate = max(peak_bytes(work, devices, precision), afterwards)
            if estimate <= budget:
                break
            reserve += ceil((estimate - budget) * 1.1)
        else:
            raise _too_small(size, estimate + reserve / 2, budget)
    if devices.platform == "cpu" and estimate > available_memory():
        raise MemoryBudgetError(
            f"the kernel of {size.examples} examples would take {shown(estimate)}, but {shown(available_memory())} "
            "are free: lower the memory budget or score fewer candidates"
        )
    return Plan(work, devices, precision, budget, estimate)


def _blocks(size: Size, block: int) -> int:
    """Blocks of features that exist at once: all of the columns', and one of the rows' in a rectangle."""
    return ceil(size.left / block) if size.right is None else ceil(size.right / block) + 1


def _fitting(plan: Planned, entries: float, tape: Tape) -> Planned:
    """Fall back from a ghost that does not fit into one pass to gradients, which can be cut."""
    if plan.method == "ghost" and plan.cost.entries > entries:
        from linearize.engine.costs import cost

        return Planned(plan.unit, "direct", cost(plan.unit, "direct", tape.copies))
    return plan


def _too_small(size: Size, floor: float, budget: int) -> MemoryBudgetError:
    return MemoryBudgetError(
        f"the kernel of {size.examples} examples needs about {shown(floor * 1.05)}, the memory budget is "
        f"{shown(budget)}: raise the budget or score fewer candidates"
    )
