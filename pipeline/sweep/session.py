"""Computes a grid from wherever it stands: cells that are finished are kept, and one that fails ends no other."""

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import click

from common.memory import shown
from pipeline.errors import PipelineError, RunFailedError
from pipeline.heldout import require_test
from pipeline.interrupts import Interrupts
from pipeline.sweep.cells import cycles_done, prepare, read_state, read_states, still_there
from pipeline.sweep.check import mismatches
from pipeline.sweep.console import GridConsole
from pipeline.sweep.directory import LOGS, merged, opened
from pipeline.sweep.engine import Engine, EngineOptions, available_cores, cell_budget
from pipeline.sweep.engines import open_engine
from pipeline.sweep.estimate import Times, append_attempt, read_times
from pipeline.sweep.grid import Cell, Grid
from pipeline.sweep.process import Attempt, Task
from pipeline.sweep.summary import counted, summary, unconverged
from trainer.data import DataSet

SHOWN_EVERY = 1.0
"""Seconds between two updates of the bar."""


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.

    Args:
        cell: which.
        path: its run directory.
        finished: whether it has all its cycles.
        reason: in one line, why not; else empty.

    """

    cell: Cell
    path: Path
    finished: bool
    reason: str = ""


@dataclass(frozen=True)
class Plan:
    """A grid that was checked and can be computed; nothing is written yet.

    Args:
        grid: what the directory will hold, with memory budget and threads fixed.
        wanted: what was asked for.
        out: the directory.
        engine: what computes it.
        notes: what a user should know of how the data was read, one sentence each.
        trust_code: whether its cells name code, all of which the user gave or trusts.

    """

    grid: Grid
    wanted: Grid
    out: Path
    engine: Engine
    notes: tuple[str, ...] = ()
    trust_code: bool = False


def make_plan(
    wanted: Grid, out: Path, options: EngineOptions, trust_code: bool = False, data: DataSet | None = None
) -> Plan:
    """Check everything that can be checked beforehand, and fix what all cells must share.

    The kernel's memory budget and the number of threads change how sums are rounded: a grid keeps those it began with.

    Args:
        wanted: what is asked for.
        out: the grid's directory.
        options: how the cells are computed.
        trust_code: whether strategies that only the directory names may run, though they are not built in.
        data: of all cells, where it is loaded already.

    Raises:
        PipelineError: other runs or untrusted code in the directory, missing data, sizes that it cannot serve, an
            unusable engine.

    """
    from pipeline.run.context import check_network, check_strategy, open_context
    from pipeline.run.recorded import confirm_code, named_code, strategies_code

    wanted, left_out = _that_can_run(wanted, data)
    held = merged(out, replace(wanted, cpus_per_cell=options.cpus_per_cell))
    unasked = [name for name in held.strategies if name not in wanted.strategies]
    confirm_code(out, strategies_code(unasked), trust_code, lambda line: click.echo(f"note: {line}", err=True))
    grid = replace(held, recorded=False)
    first = grid.cells()[0].config
    if not first.simulated:
        raise PipelineError(
            f"annotator: expected simulated, for nobody can answer all cells of a grid; got {first.who}"
        )
    context = open_context(first, data=data)
    require_test(first.data.name, context.data)
    for config in {cell.strategy: cell.config for cell in grid.cells()}.values():
        check_strategy(config, context.data)
        check_network(replace(context, config=config))
    engine = open_engine(options, grid.cpus_per_cell, context.config.device, context.device)
    if grid.resolved()["kernel"]["memory_budget"] is None:
        grid = grid.with_field("kernel", "memory_budget", cell_budget(engine))
    trusted = any(named_code(cell.config) for cell in grid.cells())
    notes = (*context.data.notes, *left_out)
    return Plan(replace(grid, cpus_per_cell=engine.cpus), wanted, out, engine, notes, trusted)


def _that_can_run(wanted: Grid, data: DataSet | None) -> tuple[Grid, tuple[str, ...]]:
    """Return a grid without optional strategies that data or network cannot serve, and a line on each of these."""
    from pipeline.run.context import check_network, check_strategy, open_context

    unfit = dict[str, str]()
    if wanted.optional:
        seed = wanted.seeds[0]
        context = open_context(wanted.config(wanted.strategies[0], seed), data=data)
        for name in wanted.optional.intersection(wanted.strategies):
            config = wanted.config(name, seed)
            try:
                check_strategy(config, context.data)
                check_network(replace(context, config=config))
            except PipelineError as error:
                unfit[name] = str(error)
    kept = tuple(name for name in wanted.strategies if name not in unfit)
    return replace(wanted, strategies=kept), left_out_lines({n: unfit[n] for n in wanted.strategies if n in unfit})


def left_out_lines(reasons: Mapping[str, str]) -> tuple[str, ...]:
    """Say which strategies are left out, each reason once.

    Args:
        reasons: why, by name of the strategy.

    """
    alike: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        alike.setdefault(reason, []).append(name)
    return tuple(f"left out: {', '.join(names)} ({reason})" for reason, names in alike.items())


def run_grid(
    wanted: Grid,
    out: Path,
    options: EngineOptions | None = None,
    trust_code: bool = False,
    again: str | None = None,
    data: DataSet | None = None,
) -> list[Outcome]:
    """Compute every cell of a grid that is not finished, and check that the strategies of a seed had the same start.

    Args:
        wanted: the grid; a directory that holds one of the same runs is extended by its strategies and seeds.
        out: the grid's directory.
        options: where to compute.
        trust_code: as of ``make_plan``.
        again: the command that goes on after an interruption, where it is not ``pipeline compare``.
        data: of all cells, where it is loaded already.

    Returns:
        What became of every cell, in the order of ``Grid.cells``.

    Raises:
        PipelineError: bad input; nothing was written.
        RunFailedError: strategies of one seed did not have the same start, schedule or candidates.

    """
    plan = make_plan(wanted, out, options or EngineOptions(), trust_code, data)
    trust = " --trust-code" if plan.trust_code else ""
    interrupts = Interrupts(f"interrupted; go on with: {again or f'pipeline compare --out {out}{trust}'}")
    try:
        with interrupts, opened(plan.out, plan.grid, plan.wanted):
            return _Session(plan, interrupts).run()
    except KeyboardInterrupt:
        click.echo(interrupts.hint, err=True)
        sys.exit(interrupts.exit_code)
    finally:
        plan.engine.close()


class _Session:
    """One command's work on a grid."""

    def __init__(self, plan: Plan, interrupts: Interrupts) -> None:
        self.out, self.grid, self.engine, self.trust_code = plan.out, plan.grid, plan.engine, plan.trust_code
        self.notes = [f"note: {note}" for note in (*plan.notes, *_held_beside(plan))]
        self.interrupts = interrupts
        self.states = {state.cell.name: prepare(state) for state in read_states(plan.out, plan.grid.cells())}
        self.times = read_times(plan.out, self.states.values())
        self.reasons = {name: state.reason for name, state in self.states.items() if state.reason}
        cycles = sum(state.cell.config.cycles for state in self.states.values())
        self.console = GridConsole(cycles)
        self._shown = 0.0
        self._running: set[str] = set()

    def run(self) -> list[Outcome]:
        names = [name for name, state in self.states.items() if state.standing in ("new", "started")]
        with self.console:
            self._announce(len(names))
            for name, reason in self.reasons.items():
                self.console.failed(name, "-", reason)
            if names:
                self._compute([self._task(name) for name in names])
        return self._conclude()

    def _announce(self, left: int) -> None:
        engine, done = self.engine, sum(state.standing == "finished" for state in self.states.values())
        self.console.note(
            f"{self.out}: {counted(len(self.states), 'cell')}, {done} finished, {left} to run, {engine.jobs} at once "
            f"with {counted(engine.cpus, 'thread')} each"
        )
        for note in self.notes:
            self.console.note(note)
        for warning in cautions(self.grid, engine, self.times):
            self.console.warn(warning)

    def _compute(self, tasks: Sequence[Task]) -> None:
        with closing(self.engine.run(tasks)) as attempts:
            for attempt in attempts:
                self.interrupts.check()
                if attempt is not None:
                    self._ended(attempt)
                self._show(at_once=attempt is not None)

    def _task(self, name: str) -> Task:
        run, log = self.states[name].path, self.out / LOGS / f"{name}.log"
        cpus, folder = self.engine.cpus, str(Path.cwd())
        return Task(name, str(run.resolve()), str(log.resolve()), cpus, folder, trust_code=self.trust_code)

    def _ended(self, attempt: Attempt) -> None:
        state = read_state(self.out, self.states[attempt.cell].cell)
        append_attempt(self.out, attempt)
        self.times.add_run(state.path, state.cell.strategy, state.cycles)
        self.times.add_attempt(attempt, state.cell.strategy)
        if state.standing != "finished":
            reason = attempt.reason or state.reason or "ended without finishing"
            state = replace(state, standing="damaged", reason=reason)  # not again in this session
            self.reasons[attempt.cell] = reason
        self.states[attempt.cell] = state
        standings = [s.standing for s in self.states.values()]
        place = f"{standings.count('finished') + standings.count('damaged')}/{len(standings)}"
        if state.standing == "finished":
            self.console.finished(state, place, attempt.seconds, self._seconds_left())
        else:
            self.console.failed(attempt.cell, place, state.reason)

    def _show(self, at_once: bool) -> None:
        if not at_once and time.monotonic() - self._shown < SHOWN_EVERY:
            return
        self._shown = time.monotonic()
        for name, state in self.states.items():
            if state.standing in ("new", "started") and (cycles := cycles_done(state.path)) > state.cycles:
                self.states[name] = replace(state, standing="started", cycles=cycles)
                self.times.add_run(state.path, state.cell.strategy, cycles)
                self._running.add(name)
        states = list(self.states.values())
        done = sum(state.standing == "finished" for state in states)
        failed = f", {len(self.reasons)} failed" if self.reasons else ""
        cells = f"{done} of {len(states)} cells{failed}"
        self.console.update(sum(state.cycles for state in states), cells, self._seconds_left())

    def _seconds_left(self) -> float | None:
        return self.times.seconds_left(self.states.values(), self.engine.jobs, self._running)

    def _conclude(self) -> list[Outcome]:
        for name, state in self.states.items():
            if (now := still_there(self.out, state)) is not state and now.standing != "finished":
                self.states[name], self.reasons[name] = now, now.reason
        outcomes = [
            Outcome(state.cell, state.path, state.standing == "finished", self.reasons.get(name, ""))
            for name, state in self.states.items()
        ]
        for line in summary(self.grid, self.states.values()):
            self.console.say(line)
        for name, reason in self.reasons.items():
            self.console.say(f"FAILED {name}: {reason}; log {self.out / LOGS / f'{name}.log'}")
        for line in unconverged(self.states.values()):
            self.console.warn(line)
        unlike = mismatches(self.out, self.grid)
        for line in unlike:
            self.console.say(f"NOT COMPARABLE: {line}")
        if unlike:
            raise RunFailedError(f"{self.out}: the strategies did not all start alike, so their results do not compare")
        if any(outcome.finished for outcome in outcomes):
            self.console.say(f"report: pipeline report {self.out}")
        return outcomes


def _held_beside(plan: Plan) -> list[str]:
    """Say which cells of a grid that goes on were not asked for this time."""
    strategies = [name for name in plan.grid.strategies if name not in plan.wanted.strategies]
    seeds = [str(seed) for seed in plan.grid.seeds if seed not in plan.wanted.seeds]
    held = [f"{word} {', '.join(names)}" for word, names in (("strategies", strategies), ("seeds", seeds)) if names]
    return [f"the comparison also holds {' and '.join(held)}, which go on too"] if held else []


def cautions(grid: Grid, engine: Engine, times: Times) -> list[str]:
    """Return, in one line each, what should make a user think before a grid is computed.

    Args:
        grid: the comparison.
        engine: what runs the cells.
        times: what cells took so far.

    """
    lines = []
    if "random" not in grid.strategies:
        lines.append("no strategy 'random': without it nobody can tell what the others gain")
    if engine.is_local and engine.jobs * engine.cpus > available_cores():
        lines.append(
            f"{engine.jobs} cells of {engine.cpus} threads share {available_cores()} cores: they will slow one another"
        )
    peak = max(map(times.peak_memory, grid.strategies))
    if peak > engine.memory:
        lines.append(
            f"a cell took up to {shown(peak)}, but {shown(engine.memory)} are free for each of {engine.jobs} at once: "
            "run fewer"
        )
    return lines
