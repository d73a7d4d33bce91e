"""What every stage of a run works with: the resolved configuration and the loaded data."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipeline.config import RunConfig
from pipeline.errors import PipelineError
from pipeline.pool import Labelled
from trainer.data import DataSet, load
from trainer.errors import TrainerError
from trainer.models import ModelSpec


@dataclass(frozen=True)
class Workbench:
    """The constants of a run.

    Args:
        config: the resolved configuration.
        data: the data set; stages read images through it, and labels only of what is labelled.
        device: the torch device.

    """

    config: RunConfig
    data: DataSet
    device: str

    @property
    def spec(self) -> ModelSpec:
        """Which network is trained."""
        return self.config.model_spec(self.data.input_shape, self.data.num_classes)

    def inputs(self, ids: np.ndarray) -> np.ndarray:
        """Return normalised, unaugmented training inputs ``[N, C, H, W]``."""
        return self.data.inputs("train", ids)

    def one_hot(self, labelled: Labelled) -> np.ndarray:
        """Return the labelled set's targets Y ``[L, C]``."""
        return np.eye(self.data.num_classes, dtype=np.float32)[labelled.labels]


def open_workbench(config: RunConfig) -> Workbench:
    """Load the data and choose the device.

    Raises:
        PipelineError: missing data, an unusable device, or sizes that the data set cannot serve.

    """
    root = Path(config.data.root).expanduser() if config.data.root else None
    try:
        data = load(config.data.name, root=root, download=config.data.download)
    except TrainerError as error:
        raise PipelineError(str(error)) from error
    wanted = config.query.n_init + config.query.size * (config.cycles - 1)
    if wanted > len(data.train):
        raise PipelineError(
            f"query: {config.query.n_init} initial labels and {config.cycles - 1} queries of {config.query.size} take "
            f"{wanted} samples, but {data.name} has {len(data.train)}: ask for fewer or run fewer cycles"
        )
    return Workbench(config, data, choose_device(config.device))


def choose_device(name: str) -> str:
    """Resolve ``auto`` and check that torch can use the device.

    Raises:
        PipelineError: it cannot.

    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise PipelineError(f"device: expected one that torch can use, such as cpu; got {name!r} ({reason})") from error
    return name
