"""``review.csv``: labels that look wrong, the most doubtful first, for a person to look at again."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from common.cells import safe_path, safe_text
from migrator import MigratorError
from pipeline.advise.doubts import Doubts, doubts_of_network
from pipeline.errors import RunFailedError
from pipeline.products.model import Trained
from pipeline.products.networks import Say, network_of
from pipeline.products.tables import write_table
from pipeline.run.pool import Pool
from pipeline.run.stages.train import WEIGHTS
from trainer.data import DataSet
from trainer.errors import TrainerError

NAME = "review.csv"
COLUMNS = ("rank", "path", "label", "suggested", "lead", "sample_id", "rests_on")


def doubts_of(trained: Trained, pool: Pool, data: DataSet, say: Say) -> Doubts:
    """Return the doubts of a run's last network; none where its kernel cannot be had, which is said.

    Args:
        trained: the network; where it has no port, its code was trusted before.
        pool: the state of the labelling.
        data: the run's.
        say: told in one line.

    """
    labelled, classes = pool.labelled(trained.cycle), trained.spec.num_classes
    try:
        return doubts_of_network(
            labelled,
            lambda ids: data.inputs("train", ids),
            classes,
            trained.port,
            lambda: network_of(trained.spec, trained.stage / WEIGHTS),
        )
    except (MigratorError, TrainerError, RunFailedError, ValueError) as error:
        say(f"labels were not looked at again: {' '.join(str(error).split())}")
        return Doubts()


def write_review(
    path: Path,
    data: DataSet,
    classes: Sequence[str],
    doubts: Doubts,
    current: Mapping[int, int],
    kept: Mapping[int, int],
) -> int:
    """Write one row a label that is still in doubt, and return how many.

    Args:
        path: the file.
        data: the run's.
        classes: names of all classes.
        doubts: of the last network.
        current: labels that count now, by sample.
        kept: labels that somebody stands by, by sample.

    """
    standing = doubts.standing(current, kept)
    rows = (
        (
            rank,
            safe_path(data.sample_path("train", doubt.sample)),
            safe_text(classes[doubt.label]),
            safe_text(classes[doubt.suggested]),
            f"{doubt.lead:.4f}",
            doubt.sample,
            f"all other labels, by {doubts.basis}",
        )
        for rank, doubt in enumerate(standing, start=1)
    )
    return write_table(path, COLUMNS, rows)
