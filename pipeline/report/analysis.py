"""From an experiment's runs to the numbers that the report shows: curves, areas, paired tests, balance of the picks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pipeline.report.balance import class_balance
from pipeline.report.families import Family, family_of
from pipeline.report.results import Experiment, Run
from pipeline.report.statistics import Band, labels_to_reach, student_t
from pipeline.run.summary import CycleRow, accuracy_curve, area_under_curve
from pipeline.sweep.estimate import read_attempts

Curve = tuple[tuple[int, Band], ...]
"""A band at every number of labels."""


@dataclass(frozen=True)
class Reached:
    """Labels that a strategy needed to reach the baseline's final accuracy at the same seed.

    Args:
        mean: over the seeds that reached it; None when none did.
        reached: how many seeds did.
        n: common seeds.

    """

    mean: float | None
    reached: int
    n: int


@dataclass(frozen=True)
class Line:
    """One strategy of an experiment.

    Args:
        strategy: its name.
        seeds: how many runs it has.
        curve: test accuracy; empty where there are no test images, as what follows is then empty or None but for times.
        curves_by_seed: what ``curve`` averages, ``(labels, accuracy)`` by seed.
        gain: the same minus the baseline's at the same seed and labels; empty for the baseline or without one.
        gains_by_seed: what ``gain`` averages, ``(labels, difference)`` by seed.
        area: area under the accuracy curve.
        final: test accuracy after the last cycle.
        macro_f1, ece: after the last cycle; None where a run does not have them.
        reached: labels needed; None without a baseline.
        seconds: mean over a run's queries of migration and scoring time; None for runs without a query.
        slowest, fastest: single queries.
        memory: most bytes that a process of one of its cells held; 0 where nobody measured, as of a run by itself.

    """

    strategy: str
    seeds: int
    curve: Curve
    curves_by_seed: tuple[tuple[tuple[int, float], ...], ...]
    gain: Curve
    gains_by_seed: tuple[tuple[tuple[int, float], ...], ...]
    area: Band | None
    final: Band | None
    macro_f1: Band | None
    ece: Band | None
    reached: Reached | None
    seconds: Band | None
    fastest: float
    slowest: float
    memory: int = 0


@dataclass(frozen=True)
class Analysis:
    """All numbers of one experiment.

    Args:
        experiment: its runs.
        lines: one a strategy, the baseline first.
        against_baseline: the declared primary family; None without a baseline or another strategy.
        all_pairs: every pair; None for one strategy.
        balance: share of each class by strategy, and of the initial sets under the key "initial set".

    """

    experiment: Experiment
    lines: tuple[Line, ...]
    against_baseline: Family | None
    all_pairs: Family | None
    balance: dict[str, np.ndarray]

    @property
    def measured(self) -> bool:
        """Whether accuracy was measured; without test images, which one run alone may lack, it was not."""
        return all(line.area for line in self.lines)

    @property
    def top(self) -> Line:
        """The line with the largest mean area; the first where accuracy was not measured."""
        return max(self.lines, key=lambda line: line.area.mean if line.area else 0.0)

    def line(self, strategy: str) -> Line:
        """Return a strategy's line."""
        return next(line for line in self.lines if line.strategy == strategy)


def analyse(experiment: Experiment) -> Analysis:
    """Compute everything about one experiment."""
    names, baseline = experiment.strategies, experiment.baseline
    others = [name for name in names if name != baseline]
    pairs = list(combinations(names, 2))
    primary = [(name, baseline) for name in others] if baseline in names else []
    areas = {name: areas_by_seed(experiment, name) for name in names}
    return Analysis(
        experiment,
        tuple(_line(experiment, name) for name in names),
        family_of(primary, areas) if primary else None,
        family_of(pairs, areas) if pairs else None,
        class_balance(experiment),
    )


def areas_by_seed(experiment: Experiment, strategy: str) -> dict[int, float]:
    """Return a strategy's area under the accuracy curve at each of its seeds with test images.

    Args:
        experiment: runs that differ in strategy and seed alone.
        strategy: its name.

    """
    areas = {seed: area_under_curve(run.rows) for seed, run in experiment.of(strategy).items()}
    return {seed: area for seed, area in areas.items() if area is not None}


def _line(experiment: Experiment, strategy: str) -> Line:
    runs = experiment.of(strategy)
    base = experiment.of(experiment.baseline) if strategy != experiment.baseline else {}
    common = [(run, base[seed]) for seed, run in runs.items() if seed in base]
    gains = tuple(_gain(mine, theirs) for mine, theirs in common)
    queries = [run.selection_seconds for run in runs.values() if run.selection_seconds]
    single = [seconds for run in queries for seconds in run]
    curves = tuple(tuple(accuracy_curve(run.rows)) for run in runs.values())
    areas = list(areas_by_seed(experiment, strategy).values())
    return Line(
        strategy=strategy,
        seeds=len(runs),
        curve=_curve(curves),
        curves_by_seed=curves,
        gain=_curve(gains),
        gains_by_seed=gains,
        area=student_t(areas) if areas else None,
        final=_last(runs, lambda row: row.test_accuracy),
        macro_f1=_last(runs, lambda row: row.test_macro_f1),
        ece=_last(runs, lambda row: row.test_ece),
        reached=_reached(common) if common else None,
        seconds=student_t([float(np.mean(run)) for run in queries]) if queries else None,
        fastest=min(single, default=0.0),
        slowest=max(single, default=0.0),
        memory=max(map(_peak_memory, runs.values()), default=0),
    )


def _peak_memory(run: Run) -> int:
    """Return the most bytes that a process of a grid's cell held, as the grid wrote down; 0 where it is no cell."""
    attempts = read_attempts(run.path.parent)
    return max((attempt.peak_memory for attempt in attempts if attempt.cell == run.path.name), default=0)


def _gain(mine: Run, theirs: Run) -> tuple[tuple[int, float], ...]:
    base = dict(accuracy_curve(theirs.rows))
    return tuple((labels, accuracy - base[labels]) for labels, accuracy in accuracy_curve(mine.rows) if labels in base)


def _curve(curves: Sequence[Sequence[tuple[int, float]]]) -> Curve:
    values: dict[int, list[float]] = {}
    for curve in curves:
        for labels, value in curve:
            values.setdefault(labels, []).append(value)
    return tuple((labels, student_t(values[labels])) for labels in sorted(values))


def _last(runs: dict[int, Run], read: Callable[[CycleRow], float | None]) -> Band | None:
    values = [read(run.rows[-1]) for run in runs.values()]
    known = [value for value in values if value is not None]
    return student_t(known) if len(known) == len(values) else None


def _reached(common: list[tuple[Run, Run]]) -> Reached:
    curves = [(accuracy_curve(mine.rows), accuracy_curve(theirs.rows)) for mine, theirs in common]
    found = [
        labels_to_reach([labels for labels, _ in mine], [accuracy for _, accuracy in mine], theirs[-1][1])
        for mine, theirs in curves
    ]
    known = [labels for labels in found if labels is not None]
    return Reached(float(np.mean(known)) if known else None, len(known), len(found))
