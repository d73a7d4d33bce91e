"""How long a grid still takes and how much memory a cell needs, from what cells took; nothing is guessed."""

import heapq
import json
from collections import defaultdict
from collections.abc import Container, Hashable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from common.reading import parse_json, read_text
from pipeline.queries import resolve
from pipeline.queries.state import NO_OPTIONS
from pipeline.run.rundir import cycle_path
from pipeline.run.stages.store import read_stage_seconds
from pipeline.sweep.cells import State
from pipeline.sweep.grid import Cell
from pipeline.sweep.process import Attempt

ATTEMPTS = "attempts.jsonl"
STAGES = ("train", "migrate", "score")


@dataclass
class Times:
    """What stages took, by strategy and cycle, and what a process takes beside them."""

    stages: dict[tuple[str, str], dict[int, list[float]]] = field(default_factory=lambda: defaultdict(dict))
    overheads: list[float] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)
    seen: set[tuple[Path, int]] = field(default_factory=set)

    def add_run(self, path: Path, strategy: str, cycles: int, first: int = 0) -> None:
        """Take in the cycles that a run has finished; those already taken in are passed over.

        Args:
            path: the run directory.
            strategy: its name.
            cycles: that it has finished.
            first: the cycle that its first one stands for.

        """
        for cycle in range(cycles):
            if (path, cycle) not in self.seen:
                self.seen.add((path, cycle))
                for stage in STAGES:
                    self._add(strategy, stage, first + cycle, cycle_path(path, cycle))

    def _add(self, strategy: str, stage: str, cycle: int, directory: Path) -> None:
        try:
            seconds = read_stage_seconds(directory, stage)
        except (OSError, ValueError, KeyError, TypeError):  # damaged: done again when its run goes on
            return
        if seconds is not None:
            self.stages[strategy, stage].setdefault(cycle, []).append(seconds)

    def add_attempt(self, attempt: Attempt, strategy: str) -> None:
        """Take in what a process of a cell took.

        Args:
            attempt: what the process took.
            strategy: its name.

        """
        if attempt.exit_code == 0 and attempt.stage_seconds:
            self.overheads.append(max(0.0, attempt.seconds - attempt.stage_seconds))
        self.memory[strategy] = max(self.memory.get(strategy, 0), attempt.peak_memory)

    def knows(self, strategy: str) -> bool:
        """Tell whether anything was measured of this strategy."""
        return any(name == strategy for name, _ in self.stages)

    def cell_seconds(self, cell: Cell, done: int) -> float | None:
        """Return what the cycles that a cell has left take, without starting up; None where nothing is known.

        Args:
            cell: one strategy at one seed.
            done: cycles that it has finished.

        """
        total = 0.0
        for cycle in range(done, cell.config.cycles):
            last = cycle == cell.config.cycles - 1
            for stage in ("train",) if last else _stages(cell.strategy):
                seconds = self._expected(cell.strategy, stage, cycle)
                if seconds is None:
                    return None
                total += seconds
        return total

    def seconds_left(self, states: Iterable[State], jobs: int, running: Container[str] = ()) -> float | None:
        """Return the wall-clock time that what is left takes when cells start in order as soon as a job is free.

        Args:
            states: every cell.
            jobs: cells at once.
            running: names of cells that have started up already.

        """
        left = [state for state in states if state.standing in ("new", "started")]
        left.sort(key=lambda state: state.cell.name not in running)
        overhead = fmean(self.overheads) if self.overheads else 0.0
        free = [0.0] * jobs
        for state in left:
            seconds = self.cell_seconds(state.cell, state.cycles)
            if seconds is None:
                return None
            start = 0.0 if state.cell.name in running else overhead
            heapq.heappush(free, heapq.heappop(free) + start + seconds)
        return max(free)

    def peak_memory(self, strategy: str) -> int:
        """Return the most bytes that a cell of the strategy, of its kind or of any took; 0 if nothing is known."""
        for names in _alike(strategy, self.memory):
            if known := [self.memory[name] for name in names if name in self.memory]:
                return max(known)
        return 0

    def _expected(self, strategy: str, stage: str, cycle: int) -> float | None:
        """Return a stage's mean at this cycle, between those measured by the line through them: of the strategy, its
        kind, or any.
        """
        for names in _alike(strategy, (name for name, _ in self.stages)):
            for measured in (self.stages[name, stage] for name in names if (name, stage) in self.stages):
                cycles = sorted(measured)
                return float(np.interp(cycle, cycles, [fmean(measured[one]) for one in cycles]))
        return None


def kind_of(strategy: str) -> tuple[Hashable, ...]:
    """Return what strategies have in common that take about as long: what is computed for them, and by what.

    Args:
        strategy: its name.

    """
    one = resolve(strategy).strategy
    ranking = one.ranking(NO_OPTIONS)
    own = ranking.proxy if ranking else None  # retrains, or solves, for each candidate
    return one.needs_port, one.needs_gradients, one.needs_infinite, one.needs_dropout, one.needs_learner, own


def _alike(strategy: str, measured: Iterable[str]) -> tuple[list[str], list[str], list[str], list[str]]:
    """Return the strategies to estimate another by: itself, those of its kind, those that are ported or not, all."""
    known, kind = list(dict.fromkeys(measured)), kind_of(strategy)
    ported = [name for name in known if kind_of(name)[0] == kind[0]]
    return [strategy], [name for name in ported if kind_of(name) == kind], ported, known


def _stages(strategy: str) -> tuple[str, ...]:
    return STAGES if resolve(strategy).strategy.needs_port else ("train", "score")


def read_times(out: Path, states: Iterable[State]) -> Times:
    """Take in everything that the cells of a grid took so far.

    Args:
        out: the grid's directory.
        states: where its cells stand.

    """
    times = Times()
    strategies = {}
    for state in states:
        strategies[state.cell.name] = state.cell.strategy
        times.add_run(state.path, state.cell.strategy, state.cycles)
    for attempt in read_attempts(out):
        if attempt.cell in strategies:
            times.add_attempt(attempt, strategies[attempt.cell])
    return times


def append_attempt(out: Path, attempt: Attempt) -> None:
    """Keep what a process of a cell took; a line that a kill tears is passed over later.

    Args:
        out: the grid's directory.
        attempt: what the process took.

    """
    with (out / ATTEMPTS).open("a") as file:
        file.write(json.dumps(asdict(attempt)) + "\n")


def read_attempts(out: Path) -> list[Attempt]:
    """Return what the processes of a grid's cells took so far."""
    try:
        lines = read_text(out / ATTEMPTS).splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [attempt for line in lines if (attempt := _attempt(line)) is not None]


def _attempt(line: str) -> Attempt | None:
    try:
        plain: dict[str, Any] = parse_json(line)
        return Attempt(**plain)
    except (ValueError, TypeError):
        return None


def shown_seconds(seconds: float) -> str:
    """Write a duration with the unit that fits it: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
