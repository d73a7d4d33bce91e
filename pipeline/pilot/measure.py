"""What a finished comparison says about each strategy beside ``random``: read from its runs and their networks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.pilot.evidence import Interval, area_weights, gain_interval, labels_needed, labels_saved, saved_interval
from pipeline.report.analysis import Analysis, analyse
from pipeline.report.families import PairTest
from pipeline.report.results import Experiment, Run, read_results
from pipeline.report.sources import RANDOM
from pipeline.run.context import RunContext, open_context
from pipeline.run.rundir import cycle_path
from pipeline.run.stages.train import WEIGHTS
from pipeline.run.summary import accuracy_curve
from trainer.checkpoint import load_weights
from trainer.data import DataSet
from trainer.predict import predict
from trainer.threads import with_threads

MOST_IMAGES = 2000
"""Test images on which networks are looked at one by one; the accuracies are those of all."""


@dataclass(frozen=True)
class Row:
    """Both strategies at a number of labels.

    Args:
        labels: the number.
        accuracy: the strategy's mean over seeds.
        random: that of ``random``.
        needed: labels at which ``random`` has the strategy's accuracy, the lower median over seeds; infinite where
            more than half do not reach it within the pilot.

    """

    labels: int
    accuracy: float
    random: float
    needed: float


@dataclass(frozen=True)
class Shown:
    """What the pilot shows of one strategy.

    Args:
        strategy: its name.
        seeds: that it shares with ``random``.
        test: of the areas under the curves, corrected over all strategies.
        gain: mean gain in accuracy over the range of labels.
        final: the gain at the last number of labels.
        saved: labels saved at the highest accuracy that both reach.
        reached: seeds in which ``random`` reached the strategy's last accuracy.
        rows: one a number of labels.

    """

    strategy: str
    seeds: int
    test: PairTest
    gain: Interval
    final: Interval
    saved: Interval
    reached: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Pilot:
    """Everything that the page shows.

    Args:
        analysis: of the comparison.
        shown: one a strategy beside ``random``.
        test: test images.
        pool: images that were candidates.
        classes: names of the classes.

    """

    analysis: Analysis
    shown: tuple[Shown, ...]
    test: int
    pool: int
    classes: tuple[str, ...]

    @property
    def experiment(self) -> Experiment:
        """The runs."""
        return self.analysis.experiment


def read_pilot(comparison: Path, say: Callable[[str], None] = lambda _: None, data: DataSet | None = None) -> Pilot:
    """Read a comparison whose cells are all finished.

    Args:
        comparison: its directory.
        say: told what takes a while.
        data: of its runs, where it is loaded already.

    Raises:
        PipelineError: it cannot be read.

    """
    [experiment] = read_results([comparison]).experiments
    analysis = analyse(experiment)
    context = open_context(experiment.config, data=data)
    images = np.unique(np.linspace(0, len(context.data.test) - 1, MOST_IMAGES).round().astype(np.int64))
    say(f"looking at each of {len(images)} test images, for intervals that count them in")
    right = {name: _right(context, experiment, name, images) for name in experiment.strategies}
    family = analysis.against_baseline
    tests = {test.a: test for test in family.tests} if family else {}
    shown = tuple(_shown(experiment, tests[name], right, len(context.data.test)) for name in tests)
    return Pilot(analysis, shown, len(context.data.test), len(context.data.train), context.data.classes)


def _right(
    context: RunContext, experiment: Experiment, strategy: str, images: NDArray[np.int64]
) -> dict[int, NDArray[np.float64]]:
    """Return whether each of some test images was right, by seed: ``[K, m]``."""
    inputs, labels = context.data.inputs("test", images), context.data.labels("test", images)
    found = {}
    for seed, run in experiment.of(strategy).items():
        its = replace(context, config=run.config)
        with with_threads(int(run.start.get("threads", 1))):
            outputs = [_outputs(its, run, row.cycle, inputs) for row in run.rows]
        found[seed] = np.array([(each.argmax(axis=1) == labels) for each in outputs], np.float64)
    return found


def _outputs(context: RunContext, run: Run, cycle: int, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    model = context.network()
    load_weights(model, cycle_path(run.path, cycle) / "train" / WEIGHTS)
    return predict(model, inputs, device=context.device)


def _shown(
    experiment: Experiment, test: PairTest, right: dict[str, dict[int, NDArray[np.float64]]], images: int
) -> Shown:
    mine, theirs = experiment.of(test.a), experiment.of(RANDOM)
    seeds = [seed for seed in mine if seed in theirs]
    labels = [n for n, _ in accuracy_curve(mine[seeds[0]].rows)]
    a, b = (np.array([_accuracies(runs[seed]) for seed in seeds]) for runs in (mine, theirs))  # [S, K]
    by_a, by_b = (np.array([right[name][seed] for seed in seeds]) for name in (test.a, RANDOM))  # [S, K, m]
    weights = area_weights(labels)
    by_image = by_a - by_b
    saved = [labels_saved(labels, list(one), list(other)) for one, other in zip(a, b, strict=True)]
    needed = np.array(
        [[labels_needed(labels, list(other), at) for at in one] for one, other in zip(a, b, strict=True)]
    )  # [S, K]
    return Shown(
        strategy=test.a,
        seeds=len(seeds),
        test=test,
        gain=gain_interval((a - b) @ weights, np.einsum("skm,k->sm", by_image, weights), images),
        final=gain_interval(a[:, -1] - b[:, -1], by_image[:, -1], images),
        saved=saved_interval(labels, by_a, by_b, saved),
        reached=int(np.isfinite(needed[:, -1]).sum()),
        rows=tuple(map(Row, labels, a.mean(axis=0), b.mean(axis=0), np.quantile(needed, 0.5, axis=0, method="lower"))),
    )


def _accuracies(run: Run) -> Sequence[float]:
    return [accuracy for _, accuracy in accuracy_curve(run.rows)]
