"""What is labelled, counted before images are opened: enough to choose sizes, which decide how images are read."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.config import RunConfig
from pipeline.errors import PipelineError
from pipeline.places import refuse_runs
from pipeline.run.loading import load_data
from trainer.data import DataSet
from trainer.data.custom import require_labels
from trainer.data.folder import list_folder
from trainer.errors import TrainerError


class Counts(NamedTuple):
    """How much of a data set has a label.

    Args:
        of: labelled samples of each class, by name, for testing or not.
        test: of these, those that the data itself has for testing.
        data: all of it, where it had to be loaded.

    """

    of: dict[str, int]
    test: int
    data: DataSet | None = None

    @property
    def labelled(self) -> int:
        """All labelled samples."""
        return sum(self.of.values())


def count_labels(config: RunConfig) -> Counts:
    """Return what of a run's data is labelled.

    The files of a folder are listed and not opened, unless those that cannot be read are to be left out.

    Args:
        config: of a run on it.

    Raises:
        PipelineError: it is missing or makes no data set.

    """
    kind, _, path = config.data.name.partition(":")
    if kind == "folder" and not config.data.skip_bad and config.data.test_fraction == 0:
        refuse_runs(Path(path).expanduser())
        return _listed(config, Path(path).expanduser())
    data = load_data(config)
    labels = np.concatenate([data.labels("train"), data.labels("test")])
    counts = np.bincount(labels, minlength=data.num_classes)
    return Counts(dict(zip(data.classes, counts.tolist(), strict=True)), len(data.test), data)


def _listed(config: RunConfig, path: Path) -> Counts:
    try:
        found = list_folder(path, config.data.image_options)
        labelled = [sample for sample in found.samples if sample.label is not None]
        if not labelled:
            raise require_labels(config.data.name, found.unlabelled.total())
    except TrainerError as error:
        raise PipelineError(str(error)) from error
    counts = Counter(sample.label for sample in labelled)
    names = found.classes or sorted(
        {str(sample.label) for sample in labelled} | {Path(name).name for name in found.empty}
    )
    return Counts({name: counts[name] for name in names}, sum(sample.split == "test" for sample in labelled))
