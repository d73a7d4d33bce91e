"""Which classes were picked, and whether an initial set can have been drawn without looking at labels."""

import math

import numpy as np

from pipeline.report.picks import BY_CHANCE, BY_GRID, INITIAL_SET
from pipeline.report.results import Experiment, initial_set
from pipeline.run.pool import INITIAL


def class_balance(experiment: Experiment) -> dict[str, np.ndarray]:
    """Share of each class among the samples asked for, over all seeds and cycles; ``[C]`` by strategy.

    What no strategy chose is in groups of its own: the initial sets, what was drawn at random later, and grids.
    """
    size = len(experiment.classes)
    initial = {run.config.seed: initial_set(run) for run in experiment.runs}
    groups = {INITIAL_SET: [pick for picks in initial.values() for pick in picks]}
    for name in experiment.strategies:
        runs = experiment.of(name).values()
        asked = (picks for run in runs for network, picks in run.picks.asked.items() if network != INITIAL)
        groups[name] = [pick for picks in asked for pick in picks]
    others = [(BY_CHANCE, [run.picks.drawn for run in experiment.runs])]
    others.append((BY_GRID, [run.picks.grids for run in experiment.runs]))
    for name, all_of in others:
        groups[name] = [pick for by_round in all_of for picks in by_round.values() for pick in picks]
    counts = {
        name: np.bincount([label for _, label in picks], minlength=size) for name, picks in groups.items() if picks
    }
    return {name: count / count.sum() for name, count in counts.items()}


def balanced_seeds(experiment: Experiment) -> list[int]:
    """Return the seeds whose drawn initial set has exactly as many of every class: hidden labels may have told."""
    size = len(experiment.classes)
    found = {
        run.config.seed
        for run in experiment.runs
        if run.first_by == "random"
        and (picks := initial_set(run))
        and len(set(np.bincount([label for _, label in picks], minlength=size))) == 1
    }
    return sorted(found)


def chance_of_balance(samples: int, classes: int) -> float:
    """Return how likely a uniform draw from equally frequent classes is to be exactly balanced: n! / ((n/C)!^C Cⁿ).

    Args:
        samples: n.
        classes: C.

    """
    if samples % classes:
        return 0.0
    log = math.lgamma(samples + 1) - classes * math.lgamma(samples // classes + 1) - samples * math.log(classes)
    return math.exp(log)


def unequal_starts(experiment: Experiment) -> list[int]:
    """Return the seeds at which strategies did not start from the same labelled set."""
    starts: dict[int, set[tuple[tuple[int, int], ...]]] = {}
    for run in experiment.runs:
        starts.setdefault(run.config.seed, set()).add(tuple(sorted(initial_set(run))))
    return sorted(seed for seed, sets in starts.items() if len(sets) > 1)
