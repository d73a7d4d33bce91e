"""What every stage of a run works with: the resolved configuration and the loaded data."""

from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.config import RunConfig
from pipeline.errors import PipelineError
from trainer.batch_norm import has_batch_norm
from trainer.data import DataSet, ImageView, load
from trainer.errors import TrainerError
from trainer.models import ModelSpec, build


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

    @property
    def images(self) -> ImageView:
        """Normalised, unaugmented training inputs by id, without the labels."""
        return self.data.view("train")


def open_workbench(config: RunConfig) -> Workbench:
    """Load the data and choose the device.

    Raises:
        PipelineError: missing data, an unusable device, or sizes that the data set cannot serve.

    """
    try:
        root = Path(config.data.root).expanduser() if config.data.root else None
        data = load(config.data.name, root=root, download=config.data.download)
    except (TrainerError, RuntimeError) as error:  # RuntimeError: the home directory of ~user is not known
        raise PipelineError(str(error)) from error
    wanted = config.query.n_init + config.query.size * (config.cycles - 1)
    if wanted > len(data.train):
        raise PipelineError(
            f"query: {config.query.n_init} initial labels and {config.cycles - 1} queries of {config.query.size} take "
            f"{wanted} samples, but {data.name} has {len(data.train)}: ask for fewer or run fewer cycles"
        )
    if config.kernel_options.logit >= data.num_classes:
        raise PipelineError(f"kernel.logit: expected 0 to {data.num_classes - 1}, got {config.kernel_options.logit}")
    bench = Workbench(config, data, choose_device(config.device))
    if config.query.n_init < 2 and has_batch_norm(build(bench.spec, seed=0)):
        raise PipelineError("query.n_init: a network with batch norm needs at least 2 labels to train on, got 1")
    return bench


def choose_device(name: str) -> str:
    """Resolve ``auto`` and check that torch can use the device.

    Raises:
        PipelineError: it cannot.

    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.ones(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise PipelineError(f"device: expected one that torch can use, such as cpu; got {name!r} ({reason})") from error
    return name
