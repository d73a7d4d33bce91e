"""A run whose networks are looked at afterwards, read without changing it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from linearize import LossGradients
from migrator import Migrated, MigratorError
from pipeline import seeds
from pipeline.errors import PipelineError, RunFailedError
from pipeline.run.context import RunContext
from pipeline.run.pool import Labelled, Pool
from pipeline.run.recorded import open_recorded
from pipeline.run.rundir import check_unchanged, logged_stage, read_config, read_events
from pipeline.run.stages.migrate import EXAMPLES, Porter
from pipeline.run.stages.train import WEIGHTS, read_summary
from pipeline.run.threads import recorded_threads
from trainer.checkpoint import load_weights, snapshot_name
from trainer.errors import TrainerError


@dataclass(frozen=True)
class Weights:
    """Where a network's weights lie.

    Args:
        cycle: that they were trained in.
        epoch: after which; 0 is before the first.
        last: whether they are what the cycle ended with.
        path: of the file.

    """

    cycle: int
    epoch: int
    last: bool
    path: Path


@dataclass(frozen=True)
class OpenedRun:
    """A run's data, labels and weights.

    Args:
        path: its directory.
        context: its constants, with the classes that it began with.
        pool: the state of its labelling.
        trained: the train stages there are, by cycle.
        threads: of torch that it computed with.
        porter: ports its networks.

    """

    path: Path
    context: RunContext
    pool: Pool
    trained: dict[int, Path]
    threads: int
    porter: Porter

    @classmethod
    def of(cls, path: Path, trust_code: bool, say: Callable[[str], None]) -> "OpenedRun":
        """Open a run, finished or not.

        Args:
            path: its directory; it is only read.
            trust_code: whether code that its configuration names may run.
            say: told, one line each, what code runs.

        Raises:
            PipelineError: there is no run, it has trained nothing, or it is damaged.

        """
        config, events = read_config(path), read_events(path)
        cycles = sorted({e["cycle"] for e in events if e["event"] == "stage_done" and e["stage"] == "train"})
        stages = {cycle: logged_stage(path, events, cycle, "train", WEIGHTS) for cycle in cycles}
        damaged = [cycle for cycle, stage in stages.items() if stage is None]
        if damaged:
            raise PipelineError(f"cycle {damaged[0]} of {path} is damaged: 'pipeline resume {path}' does it again")
        if not cycles:
            raise PipelineError(f"{path}: expected a run that has trained a network, but it has none yet")
        context = open_recorded(path, config, events, trust_code, say)
        check_unchanged(events[0], config, context.dataset_sha256)
        pool = Pool(len(context.data.train), events)
        trained = {cycle: stage for cycle, stage in stages.items() if stage is not None}
        return cls(path, context, pool, trained, recorded_threads(config, events), Porter())

    @property
    def cycles(self) -> list[int]:
        """The cycles that were trained, in order."""
        return sorted(self.trained)

    @property
    def num_classes(self) -> int:
        """Classes of the last network."""
        return self.context.of_cycle(self.pool, self.cycles[-1]).data.num_classes

    def labelled(self, cycle: int) -> Labelled:
        """Return what a cycle's network was trained on, the initial set first."""
        now, first = self.pool.labelled(cycle), self.pool.labelled(self.cycles[0])
        order = np.argsort(~np.isin(now.ids, first.ids), kind="stable")
        return Labelled(now.ids[order], now.labels[order])

    def initial_size(self, cycle: int) -> int:
        """Return how many of a cycle's labelled samples are of the initial set."""
        return int(np.isin(self.pool.labelled(cycle).ids, self.pool.labelled(self.cycles[0]).ids).sum())

    def draw_pool(self, n: int) -> np.ndarray:
        """Draw ids that no network was trained on, ``[n]`` or as many as there are."""
        left = np.setdiff1d(np.arange(self.pool.size), self.labelled(self.cycles[-1]).ids)
        rng = seeds.generator(self.context.config.seed, 0, "analyse")
        return rng.choice(left, min(n, len(left)), replace=False)

    def kept(self, cycle: int) -> list[Weights]:
        """Return the weights that a cycle kept, epoch by epoch, the last ones at the end."""
        stage = self.trained[cycle]
        epochs = self.context.config.train_options.keep_epochs
        files = [(epoch, stage / snapshot_name(epoch)) for epoch in epochs]
        ended = int(read_summary(stage)["epochs"])
        kept = [Weights(cycle, epoch, False, path) for epoch, path in files if epoch < ended and path.is_file()]
        return [*kept, Weights(cycle, ended, True, stage / WEIGHTS)]

    def initial_network(self) -> Migrated:
        """Port the network as it was before any training, random or pretrained, with the last one's classes."""
        context = self.context.of_cycle(self.pool, self.cycles[-1])
        return self._port(context, context.network())

    def gradients(self, weights: Weights) -> LossGradients:
        """Return the gradients of the run's loss at some of its weights."""
        context = self.context.of_cycle(self.pool, weights.cycle)
        model = context.network()
        try:
            load_weights(model, weights.path)
        except TrainerError as error:
            raise RunFailedError(f"cycle {weights.cycle}: {error}") from error
        port, options = self._port(context, model), context.config.kernel_options
        return LossGradients.of(port.apply_fn, port.variables, context.config.train_options.loss, options)

    def _port(self, context: RunContext, model: nn.Module) -> Migrated:
        images = context.images(self.labelled(self.cycles[0]).ids[:EXAMPLES])
        try:
            return self.porter(context, model, images)
        except MigratorError as error:
            raise RunFailedError(f"the port to Flax failed: {error}") from error
