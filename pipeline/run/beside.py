"""What as many images drawn at random would have given: a second curve, of which a run's record knows nothing.

The networks are those of ``pipeline run --strategy random`` at the same seed, made by the same loop in a folder that is
thrown away; what they got right stays in ``report/random.csv``, which the learning curve shows too.
"""

import csv
import io
import tempfile
from dataclasses import replace
from pathlib import Path

from pipeline.config import RunConfig, validate
from pipeline.errors import PipelineError, RunFailedError
from pipeline.files import write_atomically
from pipeline.progress import StageProgress, silent
from pipeline.run.context import RunContext
from pipeline.run.creating import create_run
from pipeline.run.loop import ActiveLearningLoop, Reporter
from pipeline.run.rundir import RunDirectory
from pipeline.run.summary import RANDOM, RANDOM_COLUMNS, CycleRow, accuracy_curve, read_rows, write_report
from pipeline.run.threads import recorded_threads

NAME = "random"


class _Beside:
    """Watches the second run and shows its trainings alone.

    Args:
        shown: who watched the first.

    """

    def __init__(self, shown: Reporter) -> None:
        self.shown = shown

    def stage(self, cycle: int, name: str) -> StageProgress:
        return self.shown.stage(cycle, f"{name} on images drawn at random, to compare") if name == "train" else silent

    def row(self, row: CycleRow) -> None:
        pass

    def warn(self, message: str) -> None:
        pass


def require_comparable(config: RunConfig) -> None:
    """Refuse a run beside which no images can be drawn at random.

    Args:
        config: of the run.

    Raises:
        PipelineError: people answer, or the run is random itself.

    """
    if not config.simulated or config.query.strategy == NAME:
        came = f"the strategy {NAME} itself" if config.simulated else f"the annotator {config.who}"
        raise PipelineError(
            f"--beside-random: expected another strategy and the simulated annotator, who knows the labels of all "
            f"samples, got {came}: leave it out"
        )


def random_config(config: RunConfig, threads: int) -> RunConfig:
    """Return the configuration of the same run on images drawn at random.

    Args:
        config: of the run.
        threads: that it was computed with.

    """
    plain = config.model_dump(mode="json")
    sizes = {name: plain["query"][name] for name in ("n_init", "size", "subset", "retrain_every")}
    return validate({**plain, "query": {"strategy": NAME, "initial": NAME, **sizes}, "threads": threads})


def train_beside(run: RunDirectory, context: RunContext, reporter: Reporter) -> None:
    """Train on as many images drawn at random as a finished run asked for, and draw both curves.

    Args:
        run: finished; none of its record changes.
        context: of it.
        reporter: told of each training, and why there is no second curve where there is none.

    """
    config = random_config(context.config, recorded_threads(context.config, run.events))
    try:
        with tempfile.TemporaryDirectory(prefix="beside-random-") as scratch:
            path = Path(scratch) / NAME
            create_run(path, config)
            with RunDirectory(path, reporter.warn) as other:
                ActiveLearningLoop(other, replace(context, config=config), _Beside(reporter))()
            curve = accuracy_curve(read_rows(path))
    except RunFailedError as error:
        reporter.warn(f"there is no curve of images drawn at random beside: {error}")
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(RANDOM_COLUMNS)
    writer.writerows((labels, repr(accuracy)) for labels, accuracy in curve)
    write_atomically(run.path / "report" / RANDOM, text.getvalue())
    write_report(run.path)
