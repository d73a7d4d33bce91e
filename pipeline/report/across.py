"""Strategies over several data sets or networks: Friedman, then Wilcoxon with Holm's correction."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pipeline.report.analysis import Analysis, areas_by_seed
from pipeline.report.families import Family, family_of
from pipeline.report.results import Experiment
from pipeline.report.statistics import LEVEL, Friedman, friedman


@dataclass(frozen=True)
class AcrossData:
    """The comparison over several experiments.

    Args:
        titles: of the blocks.
        strategies: those that every block has.
        areas: mean area over the common seeds ``[blocks, strategies]``.
        test: Friedman's; None when it cannot be done.
        pairs: signed-rank tests across blocks; None when they cannot decide or Friedman's does not reject.
        why_not: why something is absent, in one sentence.

    """

    titles: tuple[str, ...]
    strategies: tuple[str, ...]
    areas: np.ndarray
    test: Friedman | None
    pairs: Family | None
    why_not: str


def across_data(analyses: Sequence[Analysis]) -> AcrossData | None:
    """Compare strategies over several data sets or networks, each a block; None for a single experiment."""
    if len(analyses) < 2:
        return None
    titles = tuple(analysis.experiment.title for analysis in analyses)
    experiments = [analysis.experiment for analysis in analyses]
    shared = [name for name in experiments[0].strategies if all(name in e.strategies for e in experiments)]
    why_not = _no_friedman(experiments, shared)
    if why_not:
        return AcrossData(titles, tuple(shared), np.empty((0, 0)), None, None, why_not)
    areas = np.array([_common_means(experiment, shared) for experiment in experiments])  # [blocks, strategies]
    test = friedman(areas)
    blocks = {name: dict(enumerate(column)) for name, column in zip(shared, areas.T, strict=True)}
    pairs = family_of(list(combinations(shared, 2)), blocks)
    if test.p >= LEVEL:
        why_not = f"No pairs follow, as the Friedman test does not reject at {LEVEL} (p = {test.p:.3f})."
    elif not pairs.can_decide:
        why_not = (
            f"No pairs follow: with {len(areas)} blocks no corrected p of {len(pairs.tests)} pairs can be below "
            f"{pairs.smallest:.3g}; {pairs.needed} blocks would be needed."
        )
    return AcrossData(titles, tuple(shared), areas, test, None if why_not else pairs, why_not)


def _no_friedman(experiments: list[Experiment], shared: list[str]) -> str:
    blocks = {(e.runs[0].start["dataset_sha256"], str(e.config.scientific()["model"])) for e in experiments}
    if len(blocks) < len(experiments):
        return (
            "No Friedman test: blocks must be different data sets or networks, but some experiments here differ in "
            "other settings only; report on one setting at a time."
        )
    if len(shared) < 3:
        return f"No Friedman test: it needs at least 3 strategies in every experiment, here are {len(shared)}."
    if any(not _common_seeds(experiment, shared) for experiment in experiments):
        return "No Friedman test: in some experiment the strategies have no seed in common."
    return ""


def _common_seeds(experiment: Experiment, names: list[str]) -> list[int]:
    return sorted(set.intersection(*(set(experiment.of(name)) for name in names)))


def _common_means(experiment: Experiment, names: list[str]) -> list[float]:
    seeds = _common_seeds(experiment, names)
    return [float(np.mean([areas_by_seed(experiment, name)[seed] for seed in seeds])) for name in names]
