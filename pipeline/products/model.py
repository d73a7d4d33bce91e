"""``model/``: a run's last network as weights, as a verified Flax port, as readable source, and how to use it."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from common.files import write_bytes
from common.reading import read_json
from pipeline.config import RunConfig
from pipeline.errors import RunFailedError
from pipeline.files import write_json
from pipeline.products.model_folder import ABOUT, PORT, SOURCE, About, ported_outputs
from pipeline.products.networks import Say, network_of, torch_outputs
from pipeline.products.predictions import Outputs
from pipeline.products.reading import Reading
from pipeline.products.whole import EXAMPLES as FEW
from pipeline.products.whole import whole_network
from pipeline.run.events import Event
from pipeline.run.logged import LogIndex
from pipeline.run.recorded import confirm_code, named_code
from pipeline.run.rundir import logged_stage
from pipeline.run.stages.migrate import EXAMPLES, VARIABLES
from pipeline.run.stages.train import MODEL, WEIGHTS, read_summary
from trainer.data import DataSet

if TYPE_CHECKING:
    from torch import nn

    from trainer.models import ModelSpec


class Trained(NamedTuple):
    """The last network of a run that is whole.

    Args:
        cycle: its number.
        stage: where it lies.
        port: where its port lies; None where the run's strategy needs none, or it is damaged.
        spec: which network it is.
        labels: that it was trained on.

    """

    cycle: int
    stage: Path
    port: Path | None
    spec: "ModelSpec"
    labels: int


def last_trained(run: Path, events: Sequence[Event], say: Say) -> Trained | None:
    """Return the network of the last cycle whose training is finished and undamaged; None before the first.

    Args:
        run: the run directory; it is only read.
        events: of the run.
        say: told of networks that are damaged.

    """
    from trainer.models import ModelSpec

    done = LogIndex(events).done
    for cycle in sorted((cycle for cycle, stage in done if stage == "train"), reverse=True):
        stage = logged_stage(run, events, cycle, "train", WEIGHTS)
        if stage is None:
            say(
                f"the network of cycle {cycle} is damaged or gone, and an earlier one is taken: 'pipeline resume {run}'"
            )
            continue
        spec = ModelSpec(**read_json(stage / MODEL))
        port = logged_stage(run, events, cycle, "migrate", VARIABLES)
        return Trained(cycle, stage, port, spec, int(read_summary(stage)["n_labeled"]))
    return None


class ModelWriter:
    """Writes the folder of one network.

    Args:
        run: the run directory.
        config: its configuration.
        events: of the run.
        data: its data.
        trust_code: whether a network that is not built in may be imported.
        say: told what could not be made.
        kept: copies a port that earlier products have of a network into the model's folder, and tells whether it did.

    """

    def __init__(
        self,
        run: Path,
        config: RunConfig,
        events: Sequence[Event],
        data: DataSet,
        trust_code: bool,
        say: Say,
        kept: Callable[[Mapping[str, Any], Path], bool] = lambda network, into: False,
    ) -> None:
        self._run, self._config, self._events, self._data = run, config, events, data
        self._trust, self._say, self._kept = trust_code, say, kept

    def write(self, trained: Trained, classes: Sequence[str], reading: Reading, into: Path) -> tuple[About, Outputs]:
        """Write all of it, and return what it says and the network itself.

        Args:
            trained: which network.
            classes: names of the run's classes, in the order of the outputs; those added later are not among these.
            reading: how images were read.
            into: the folder, which exists.

        Raises:
            PipelineError: the network's code is not trusted, and there is no port that needs none.

        """
        if self._data.embedded is not None:
            return self._write_whole(trained, classes, reading, into)
        shutil.copyfile(trained.stage / WEIGHTS, into / WEIGHTS)
        network = self._port(trained, into / PORT)
        about = self._about(trained, trained.spec, self._data, classes, reading, ported=network is None)
        write_json(into / ABOUT, about.plain())
        if network is not None:
            return about, torch_outputs(network)
        self._source(into)
        return about, ported_outputs(about, into / PORT)

    def _write_whole(
        self, trained: Trained, classes: Sequence[str], reading: Reading, into: Path
    ) -> tuple[About, Outputs]:
        """Write the network with its backbone, which takes images; what is returned takes the run's features."""
        from trainer.checkpoint import weight_bytes
        from trainer.errors import TrainerError

        head = self._network(trained)
        try:
            spec, network = whole_network(self._data, trained.spec, head)
        except TrainerError as error:
            raise RunFailedError(f"the network of cycle {trained.cycle} cannot be built: {error}") from error
        write_bytes(into / WEIGHTS, weight_bytes(network))
        images = self._data.pictures.train.images[:FEW] / np.float32(self._data.pictures.scale)
        if not (ported := self._kept(asdict(spec), into)):
            assert self._data.embedded is not None  # or there were no whole network
            self._say(
                f"the model is the whole network, {self._data.embedded.backbone} and head: its port is made and "
                "verified, which takes a while"
            )
            ported = self._migrated(network, images, into / PORT)
        unscaled = replace(self._data.pictures, mean=(0.0,) * len(images[0]), std=(1.0,) * len(images[0]))
        about = self._about(trained, spec, unscaled, classes, reading, ported=ported)
        write_json(into / ABOUT, about.plain())
        if ported:
            self._source(into)
        return about, torch_outputs(head)

    def _about(
        self, trained: Trained, spec: "ModelSpec", data: DataSet, classes: Sequence[str], reading: Reading, ported: bool
    ) -> About:
        return About(
            network=asdict(spec),
            classes=tuple(classes[: spec.num_classes]),
            loss=self._config.train_options.loss,
            features=data.holds_features,
            mean=data.mean,
            std=data.std,
            depth=reading.depth,
            span=reading.span,
            ported=ported,
            run=str(self._events[0]["run_id"]),
            cycle=trained.cycle,
            labels=trained.labels,
        )

    def _port(self, trained: Trained, into: Path) -> "nn.Module | None":
        """Copy the cycle's port or make one; return the torch network where there can be none."""
        from migrator import MigratorError, load

        if trained.port is not None:
            into.mkdir()
            for name in ("graph.json", "report.json", VARIABLES):
                shutil.copyfile(trained.port / name, into / name)
            try:
                load(into)
            except MigratorError as error:
                self._say(f"the port of cycle {trained.cycle} cannot be used and is made again: {error}")
                shutil.rmtree(into)
            else:
                return None
        if self._kept(asdict(trained.spec), into.parent):
            return None
        model = self._network(trained)
        return None if self._migrated(model, self._examples(), into) else model

    def _migrated(self, model: "nn.Module", examples: np.ndarray, into: Path) -> bool:
        """Port a network and verify it; say so where there can be no port of it."""
        from migrator import MigratorError, migrate, save, verify

        try:
            port = migrate(model, (_zeros(examples.shape[1:]),))
            port.report = verify(model, port, examples)
            save(port, into)
        except MigratorError as error:
            self._say(f"the network cannot be ported to Flax, so only PyTorch can use it: {error}")
            return False
        return True

    def _network(self, trained: Trained) -> "nn.Module":
        from trainer.errors import TrainerError

        codes = [code for code in named_code(self._config) if code.role == "model"]
        confirm_code(self._run, codes, self._trust, self._say, self._events[0])
        try:
            return network_of(trained.spec, trained.stage / WEIGHTS)
        except TrainerError as error:
            raise RunFailedError(f"the network of cycle {trained.cycle} cannot be built: {error}") from error

    def _examples(self) -> np.ndarray:
        return self._data.inputs("train", np.arange(min(EXAMPLES, len(self._data.train))))

    def _source(self, into: Path) -> None:
        from migrator import MigratorError, load, to_source
        from migrator.source import check_source

        port = load(into / PORT)
        try:
            text = to_source(port)
            check_source(port, text)
        except MigratorError as error:
            self._say(f"the network is not written as source: {error}")
        else:
            write_bytes(into / SOURCE, text.encode())


def _zeros(shape: tuple[int, ...]):  # type: ignore[no-untyped-def]
    import torch

    return torch.zeros(2, *shape)
