"""``results.csv``: everything measured, in long form, so that every statistic can be computed again."""

import csv
import io
from collections.abc import Iterable, Iterator

from pipeline.report.results import Experiment, Run, initial_set
from pipeline.run.summary import CycleRow, printable

COLUMNS = ("experiment", "dataset", "model", "strategy", "seed", "cycle", "n_labeled", "metric", "value", "baseline")


def results_csv(experiments: Iterable[Experiment]) -> str:
    """Return all results in long form, at full precision.

    Metrics are those of a run, such as ``test_accuracy``; ``epochs``; the seconds of each stage, such as ``score_s``;
    and how many samples of a class were labelled: those that the cycle's network chose, ``picked[CLASS]``; those before
    the first, ``initial[CLASS]``; those drawn at random in the cycle's round, ``random[CLASS]``; and those shown as a
    grid, ``grid[CLASS]``.  What a run does not have is absent, and so is a count of 0.  The last column names the
    strategy that the report compares the others with; it is empty where that one has no finished run.

    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for experiment in experiments:
        baseline = experiment.baseline if experiment.baseline in experiment.strategies else ""
        for run in experiment.runs:
            head = [experiment.key, run.config.data.name, run.config.model.name, run.strategy, run.config.seed]
            for row in run.rows:
                values = [*_metrics(row), *_class_counts(run, row.cycle)]
                place = [*head, row.cycle, row.n_labelled]
                writer.writerows([*place, metric, repr(value), baseline] for metric, value in values)
    return text.getvalue()


def _metrics(row: CycleRow) -> Iterator[tuple[str, float]]:
    for split, metric, value in row.metrics():
        yield f"{split}_{metric}", value
    yield "epochs", row.epochs
    for stage, seconds in row.seconds.items():
        yield f"{stage}_s", seconds


def _class_counts(run: Run, cycle: int) -> Iterator[tuple[str, int]]:
    rounds = [("initial", initial_set(run))] if cycle == 0 else []
    others = [("random", run.picks.drawn.get(cycle, ())), ("grid", run.picks.grids.get(cycle, ()))]
    for name, picks in [*rounds, ("picked", run.picks.asked.get(cycle, ())), *others]:
        labels = [label for _, label in picks]
        for number in sorted(set(labels)):
            yield f"{name}[{printable(run.classes[number])}]", labels.count(number)
