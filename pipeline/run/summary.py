"""What a run achieved, derived from its stages: one row a cycle, ``metrics.csv`` and the learning curve."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from common.reading import read_text
from pipeline.config import RunConfig
from pipeline.files import write_atomically
from pipeline.run.rundir import cycle_path, read_config, read_events
from pipeline.run.stages.diagnostics import DIAGNOSTICS, read_diagnostics
from pipeline.run.stages.store import read_stage_seconds
from pipeline.run.stages.train import read_summary

CSV_COLUMNS = ("seed", "cycle", "n_labeled", "split", "metric", "value", "train_s", "migrate_s", "score_s")
CSV_METRICS = (
    ("test", "accuracy", "test_accuracy"),
    ("test", "macro_f1", "test_macro_f1"),
    ("test", "ece", "test_ece"),
    ("train", "accuracy", "train_accuracy"),
    ("train", "residual_norm", "residual_norm"),
    ("train", "residual_rms", "residual_rms"),
)
RANDOM, RANDOM_COLUMNS = "random.csv", ("n_labeled", "test_accuracy")
SCORE_METRICS = ("condition_number", "jitter", "remaining_change", "redundant_share", "common_share", "score_spread")
"""Those of a cycle's diagnostics by which its scores can be judged; ``metrics.csv`` has them with the split score."""


@dataclass(frozen=True)
class CycleRow:
    """One finished cycle.

    Args:
        cycle: its number.
        n_labelled: labels it trained on.
        test_accuracy: after the last epoch, between 0 and 1; None where there are no test images.
        train_accuracy: on the labelled set.
        residual_norm: ‖R‖_F.
        residual_rms: ‖R‖_F / √L.
        converged: whether training reached its tolerance.
        epochs: epochs that training took.
        seconds: wall-clock time by stage; stages that the strategy does not need are absent.
        test_macro_f1: mean over classes of F1; this and what follows is None or empty for runs of older versions, and
            what is of the test images where there are none.
        test_ece: expected calibration error.
        test_class_accuracy: by class; None for a class without test images.
        classes: their names.
        diagnostics: ``SCORE_METRICS`` by name, those that the strategy has; empty where nothing was queried.
        ended: what ended training, see ``trainer.regimes.Ended``.
        test_images: on how many the test accuracy was measured; None of older versions.

    """

    cycle: int
    n_labelled: int
    test_accuracy: float | None
    train_accuracy: float
    residual_norm: float
    residual_rms: float
    converged: bool
    epochs: int
    seconds: dict[str, float]
    test_macro_f1: float | None = None
    test_ece: float | None = None
    test_class_accuracy: tuple[float | None, ...] = ()
    classes: tuple[str, ...] = ()
    diagnostics: dict[str, float] = field(default_factory=dict)
    ended: str = "tolerance"
    test_images: int | None = None

    def metrics(self) -> list[tuple[str, str, float]]:
        """Return everything measured as (split, metric, value); a class's accuracy is named ``accuracy[CLASS]``."""
        plain = [(split, metric, getattr(self, attribute)) for split, metric, attribute in CSV_METRICS]
        names = [f"accuracy[{printable(name)}]" for name in self.classes]
        by_class = zip(names, self.test_class_accuracy, strict=True) if self.test_class_accuracy else ()
        classes = [("test", name, value) for name, value in by_class]
        measured = [(split, metric, value) for split, metric, value in (*plain, *classes) if value is not None]
        return [*measured, *(("score", name.removeprefix("score_"), value) for name, value in self.diagnostics.items())]


def printable(name: str) -> str:
    r"""Return a class's name with line breaks and other unprintable characters escaped, such as a tab by ``\t``."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def read_row(run: Path, cycle: int) -> CycleRow:
    """Read one cycle's row from its stages.

    Args:
        run: the run directory.
        cycle: number of the cycle.

    """
    directory = cycle_path(run, cycle)
    summary = read_summary(directory / "train")
    seconds = {stage: read_stage_seconds(directory, stage) for stage in ("train", "migrate", "score")}
    return CycleRow(
        cycle=cycle,
        n_labelled=int(summary["n_labeled"]),
        test_accuracy=summary.get("test_accuracy"),
        train_accuracy=summary["train_accuracy"],
        residual_norm=summary["residual_norm"],
        residual_rms=summary["residual_rms"],
        converged=bool(summary["converged"]),
        ended=str(summary.get("ended", "tolerance" if summary["converged"] else "epochs")),
        epochs=int(summary["epochs"]),
        seconds={stage: taken for stage, taken in seconds.items() if taken is not None},
        test_macro_f1=summary.get("test_macro_f1"),
        test_ece=summary.get("test_ece"),
        test_class_accuracy=tuple(summary.get("test_class_accuracy", ())),
        classes=tuple(summary.get("classes", ())),
        diagnostics=_diagnostics(directory / "score"),
        test_images=summary.get("n_test"),
    )


def _diagnostics(directory: Path) -> dict[str, float]:
    if not (directory / DIAGNOSTICS).exists():
        return {}
    figures = read_diagnostics(directory)
    return {name: figures[name] for name in SCORE_METRICS if figures.get(name) is not None}


def read_rows(run: Path) -> list[CycleRow]:
    """Read the rows of all finished cycles of a run."""
    return [read_row(run, event["cycle"]) for event in read_events(run) if event["event"] == "cycle_done"]


def accuracy_curve(rows: Sequence[CycleRow]) -> list[tuple[int, float]]:
    """Return the learning curve, test accuracy by number of labels; empty where there are no test images.

    Args:
        rows: one a cycle.

    """
    return [(row.n_labelled, row.test_accuracy) for row in rows if row.test_accuracy is not None]


def area_under_curve(rows: Sequence[CycleRow]) -> float | None:
    """Return the area under the accuracy curve over labels, normalised to the range of labels (AUBC, in [0, 1]).

    Trapezoidal rule; the last accuracy itself where the number of labels never changes, as in one cycle.

    Args:
        rows: one a cycle.

    Returns:
        The area; None where there are no test images.

    """
    curve = accuracy_curve(rows)
    return area_of(curve) if curve else None


def area_of(curve: Sequence[tuple[int, float]]) -> float:
    """Return the area under a curve, see ``area_under_curve``.

    Args:
        curve: labels and test accuracy, one or more.

    """
    span = curve[-1][0] - curve[0][0]
    if not span:
        return curve[-1][1]
    area = sum((right - left) * (after + before) / 2 for (left, before), (right, after) in pairwise(curve))
    return area / span


def shown_accuracy(accuracy: float | None) -> str:
    """Write an accuracy in percent; a dash where there are no test images.

    Args:
        accuracy: between 0 and 1.

    """
    return "-" if accuracy is None else f"{accuracy:.2%}"


def write_report(run: Path, *, draw: bool = True) -> None:
    """Rebuild ``metrics.csv`` and ``report/learning_curve.png`` from the finished cycles.

    Args:
        run: the run directory.
        draw: the picture too; there is none without test images.

    """
    config, rows = read_config(run), read_rows(run)
    write_atomically(run / "metrics.csv", metrics_csv(config, rows))
    if draw and accuracy_curve(rows):
        (run / "report").mkdir(exist_ok=True)
        write_atomically(run / "report" / "learning_curve.png", learning_curve(config, rows, read_random(run)))


def read_random(run: Path) -> list[tuple[int, float]]:
    """Return the curve of as many random labels, see ``pipeline.run.beside``; empty where nobody drew it.

    Args:
        run: the run directory.

    """
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(run / "report" / RANDOM))))
        return [(int(row[RANDOM_COLUMNS[0]]), float(row[RANDOM_COLUMNS[1]])) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return []  # it is derived: what is damaged is not drawn


def metrics_csv(config: RunConfig, rows: list[CycleRow]) -> str:
    """Return the metrics of a run in long form.

    Args:
        config: the run's configuration.
        rows: one a cycle.

    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in rows:
        seconds = [
            f"{row.seconds[stage]:.3f}" if stage in row.seconds else "" for stage in ("train", "migrate", "score")
        ]
        for split, metric, value in row.metrics():
            writer.writerow([config.seed, row.cycle, row.n_labelled, split, metric, f"{value:.6g}", *seconds])
    return text.getvalue()


def learning_curve(config: RunConfig, rows: list[CycleRow], random: Sequence[tuple[int, float]] = ()) -> bytes:
    """Draw test accuracy over the number of labels as a PNG.

    Args:
        config: the run's configuration.
        rows: one a cycle, with test accuracy.
        random: labels and test accuracy of as many random labels, where they were trained on.

    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, PercentFormatter

    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    curve = accuracy_curve(rows)
    if random:
        axes.plot(
            *zip(*random, strict=True), marker="x", color="#222222", linestyle=":", label="images drawn at random"
        )
    axes.plot(*zip(*curve, strict=True), marker="o", color="#1f5fa8", label=config.query.strategy)
    if random:
        axes.legend(loc="lower right", frameon=False, fontsize=9)
    for labels, accuracy in curve:
        position = (labels, accuracy)
        axes.annotate(f"{accuracy:.1%}", position, (-3, 6), textcoords="offset points", ha="right", fontsize=8)
    axes.set_xlabel("labels")
    axes.set_ylabel("test accuracy")
    axes.set_title(f"{config.data.name}, {config.model.name}, {config.query.strategy}, seed {config.seed}", fontsize=10)
    axes.xaxis.set_major_locator(FixedLocator([labels for labels, _ in curve][:: -(-len(curve) // 12)]))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.margins(x=0.09, y=0.15)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
