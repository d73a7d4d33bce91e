"""What every stage of a run works with: the resolved configuration, the loaded data and the network as it begins."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from common.files import sha256_of
from common.memory import available_memory
from common.reading import why
from linearize import MemoryBudgetError
from linearize.bounds import check_budget
from migrator import MigratorError
from pipeline import seeds
from pipeline.config import ModelSection, RunConfig
from pipeline.errors import PipelineError
from pipeline.infinite import check_affordable
from pipeline.queries import STRATEGIES, QueryStrategy, strategy_sha256
from pipeline.queries.validated_query import covariance_of
from pipeline.run.began import first_event
from pipeline.run.device import choose_device
from pipeline.run.hidden import check_hidden
from pipeline.run.loading import load_data
from pipeline.run.pool import Pool
from pipeline.run.stages.sequential import query_sizes
from trainer.batch_norm import has_batch_norm
from trainer.checkpoint import initialise
from trainer.data import DataSet, ImageView, custom_kind
from trainer.dropout import sample_outputs
from trainer.errors import TrainerError
from trainer.features import embed
from trainer.growth import grow
from trainer.learners import LEARNERS
from trainer.learners.loss_prediction import LearnedLoss
from trainer.learners.taps import find_taps
from trainer.models import ModelSpec, build, check_evaluation, custom_family, require_fits, source_sha256
from trainer.options import TrainOptions


@dataclass(frozen=True)
class RunContext:
    """The constants of a run.

    Args:
        config: the resolved configuration.
        data: the data set; stages read images through it, and labels only of what is labelled.
        device: the torch device.
        pretrained: the weights to start from, by name; None where they are random.
        loaded: the data set as it was loaded, where classes were added to it since; None where none were.

    """

    config: RunConfig
    data: DataSet
    device: str
    pretrained: dict[str, Tensor] | None = None
    loaded: DataSet | None = None

    @property
    def spec(self) -> ModelSpec:
        """Which network is trained."""
        return self.config.model_spec(self.data.input_shape, self.data.num_classes)

    @property
    def train_options(self) -> TrainOptions:
        """How it is trained."""
        return self.config.train_options_for(self.data.num_classes)

    @property
    def dataset_sha256(self) -> str:
        """Digest of the data set as it was loaded: classes that were added since do not make it another one."""
        return (self.loaded or self.data).fingerprint()

    def with_classes(self, names: Sequence[str]) -> "RunContext":
        """Return this context with more classes, whose numbers follow those there are; images and labels are shared.

        Args:
            names: of the new classes.

        Raises:
            PipelineError: a name that is empty or that a class has already.

        """
        classes = (*self.data.classes, *names)
        if len(set(classes)) != len(classes) or not all(name.strip() for name in names):
            there = ", ".join(self.data.classes)
            raise PipelineError(f"classes: expected new names beside {there}, got {', '.join(map(repr, names))}")
        return replace(self, data=replace(self.data, classes=classes), loaded=self.loaded or self.data)

    def of_cycle(self, pool: Pool, cycle: int) -> "RunContext":
        """Return this context with the classes that a cycle's network has: those added before its training, too.

        Args:
            pool: the state of the labelling.
            cycle: number of the cycle.

        """
        added = pool.classes_before(cycle)
        return self.with_classes(added) if added else self

    @property
    def trial(self) -> "RunContext":
        """This context with at least two classes, for a network that is tried before anybody has named them."""
        missing = max(0, 2 - self.data.num_classes)
        return self.with_classes([f"class {n}" for n in range(missing)]) if missing else self

    @property
    def images(self) -> ImageView:
        """Normalised, unaugmented training inputs by id, without the labels."""
        return self.data.view("train")

    @cached_property
    def strategy(self) -> QueryStrategy:
        """Who chooses what to label."""
        return self.config.query.resolved.strategy

    @property
    def sources(self) -> dict[str, str]:
        """Hashes of the files that define a user's own network and strategy; they may change, with a warning."""
        model, strategy = self.config.model.name, self.strategy
        digests = {
            model: source_sha256(model) if custom_family(model) else None,
            self.config.query.strategy: None if strategy in STRATEGIES.values() else strategy_sha256(strategy),
        }
        return {name: f"SHA-256 {digest[:12]}" for name, digest in digests.items() if digest}

    def network(self, draw: int = 0) -> nn.Module:
        """Return a new network with the run's initial weights, random or pretrained.

        Pretrained weights are those of the classes that the run began with; outputs for classes that were added since
        are random.

        Args:
            draw: which of the seed's random weights; 0 gives the initial ones.

        Raises:
            TrainerError: it cannot be built, or the pretrained weights do not fit it.

        """
        seed = seeds.integer(self.config.seed, draw, "init")
        model = build(self.spec, seed)
        if self.pretrained is None:
            return model
        from migrator.checkpoint import unwrapped

        first = model if self.loaded is None else build(replace(self.spec, num_classes=self.loaded.num_classes), seed)
        state, _ = unwrapped(self.pretrained, set(first.state_dict()))
        initialise(first, state, self.config.model.init_skip or ())
        if first is not model:
            grow(model, first.state_dict())
        return model


def open_context(
    config: RunConfig,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    run: Path | None = None,
    *,
    checked: bool = True,
    embedding: Callable[[int, int], None] | None = None,
    data: DataSet | None = None,
) -> RunContext:
    """Load the data, choose the device and try the network.

    Args:
        config: the run's configuration.
        cache: as of ``load_data``, like all that follow.
        progress: is told of decoding.
        run: its directory.
        checked: whether its data is compared.
        embedding: is told of features that are computed.
        data: where it is loaded already.

    Raises:
        PipelineError: missing data, an unusable device, sizes that the data set cannot serve, or a user's own network
            or weights that do not fit it.

    """
    data = data or load_data(config, cache, progress, run, checked=checked, embedding=embedding)
    _require_usable(config, data)
    _require_enough(config, data)
    check_hidden(config, data)
    context = RunContext(config, data, choose_device(config.device), _read_pretrained(config.model))
    trial = context.trial if config.paged else context
    if config.kernel_options.logit >= trial.data.num_classes:
        expected = f"kernel.logit: expected 0 to {trial.data.num_classes - 1}"
        raise PipelineError(f"{expected}, got {config.kernel_options.logit}")
    check_network(trial, first=run is None or first_event(run) is None)
    check_strategy(config, trial.data)
    return context


def _require_enough(config: RunConfig, data: DataSet) -> None:
    """Refuse data that has fewer samples than a run asks about."""
    if config.takes_given_labels and len(data.labelled_ids) == len(data.train):
        advice = "'pipeline run' without --annotator replays an experiment on them"
        if config.paged and config.data.classes is None:
            advice = f"where {', '.join(data.classes[:3])} are no classes of yours, name yours: --classes cat,dog"
        raise PipelineError(
            f"data: all {len(data.train):,} training samples of {config.data.name} have a label already, so there is "
            f"nothing to ask: {advice}"
        )
    if config.paged:
        return
    wanted = config.query.n_init + config.query.answers * (config.cycles - 1)
    own = custom_kind(config.data.name) is not None
    if wanted > len(data.train):
        raise PipelineError(
            f"query: {config.query.n_init} initial labels and {config.cycles - 1} rounds of {config.query.answers} "
            f"take {wanted} samples, but {config.data.name} has {len(data.train)}"
            f"{' with a label, without those for testing' * own}: ask for fewer or run fewer cycles"
        )


def _require_usable(config: RunConfig, data: DataSet) -> None:
    """Refuse data whose classes are not known, or which a run's training would destroy."""
    try:
        if not config.paged:
            data.require_classes()
    except TrainerError as error:
        raise PipelineError(f"data: {error}") from error
    try:
        data.require_augmentable(config.train_options.augment)
    except TrainerError as error:
        raise PipelineError(f"train.augment: {error}") from error
    _require_learnable(config, data)


def _require_learnable(config: RunConfig, data: DataSet) -> None:
    """Refuse data that a run's learner cannot learn from: it may see no images without labels in the last cycle."""
    options = config.train_options
    asked = config.query.n_init + (0 if config.paged else config.query.answers * (config.cycles - 1))
    try:
        LEARNERS[options.learner].require_fits(options, data.input_shape, max(0, len(data.train) - asked))
    except TrainerError as error:
        field = "train." if str(error).startswith("perturb") else "train.learner: "
        raise PipelineError(f"{field}{error}") from error


def check_strategy(config: RunConfig, data: DataSet) -> None:
    """Check that a run can compute the largest kernel that its strategy asks for, as far as is known before training.

    Args:
        config: of the run.
        data: its data set.

    Raises:
        PipelineError: the kernel takes too much; or, of infinite width, neural-tangents is missing or the network has
            no twin; or the strategy asks for other sizes than the run, or needs another learner.

    """
    strategy, query = config.query.resolved.strategy, config.query
    if strategy.needs_learner not in (None, learner := config.train_options.learner):
        raise PipelineError(
            f"train.learner: expected {strategy.needs_learner!r}, which the strategy {query.strategy!r} needs, got "
            f"{learner!r}: begin a new run"
        )
    if len(query_sizes(strategy, query)) > 1 and config.by_files:
        raise PipelineError(
            f"annotator: files hand out a whole round at once, but {query.strategy} asks after each answer: choose "
            "a strategy or mode that does not, such as --strategy margin-influence-greedy"
        )
    if query.balanced and (len(query_sizes(strategy, query)) > 1 or strategy.remembers):
        raise PipelineError(
            f"query.by_class: expected a strategy that chooses a whole query at once and remembers nothing, got "
            f"{query.strategy!r}: such as random, entropy, margin-influence-greedy or crc"
        )
    if config.cycles == 1 and not config.paged:
        return
    L = query.n_init + (0 if config.paged else query.answers * (config.cycles - 2))
    U = min(query.subset, len(data.train) - L)
    if strategy.needs_infinite:
        check_affordable(config.model_spec(data.input_shape, data.num_classes), config.kernel_options, L, U)
    if strategy.needs_kernel:
        full = covariance_of(strategy, query.look_ahead, query.answers, U) == "required"
        try:
            check_budget(L, U, data.num_classes, config.kernel_options, full=full)
        except MemoryBudgetError as error:
            raise PipelineError(f"kernel.memory_budget: {error}") from error


def _read_pretrained(model: ModelSection) -> dict[str, Tensor] | None:
    """The weights of a file that is still what it was; nothing in it is executed."""
    if model.init_weights is None:
        return None
    from migrator.checkpoint import read_state

    try:
        path = Path(model.init_weights).expanduser()
        now = sha256_of(path, available_memory())
        state = read_state(path)
    except OSError as error:
        raise PipelineError(f"model.init_weights: cannot read {path}: {why(error)}") from error
    except (MigratorError, RuntimeError) as error:
        raise PipelineError(f"model.init_weights: {error}") from error
    if now != model.init_sha256:
        raise PipelineError(
            f"model.init_weights: {path} is not the file that the run began with (SHA-256 {now[:12]}, expected "
            f"{str(model.init_sha256)[:12]}): restore it"
        )
    return state


def check_network(context: RunContext, *, first: bool = False) -> None:
    """Build a network that may not fit its data or the strategy, so that it is refused before anything is written.

    Args:
        context: of the run, with at least two classes.
        first: whether nothing was trained yet, so that it is also seen whether its accuracy will mean anything.

    Raises:
        PipelineError: it does not.

    """
    custom = custom_family(context.spec.name) is not None
    needs_dropout = context.strategy.needs_dropout
    try:
        require_fits(context.spec)
        if not custom and context.pretrained is None and context.config.query.n_init > 1 and not needs_dropout:
            return
        model = context.network()
        if custom and not _equal(model, context.network()):
            raise PipelineError(
                f"model.name: {context.spec.name} made other weights the second time; draw them with torch's global "
                "generator alone, which the run seeds"
            )
        if first:
            check_evaluation(context.spec)
        if context.strategy.needs_features:
            embed(model, np.zeros((2, *context.data.input_shape), np.float32))
        if needs_dropout:
            sample_outputs(model, np.zeros((2, *context.data.input_shape), np.float32), passes=1, seed=0)
        if context.config.train_options.learner == LearnedLoss.name:
            find_taps(model, context.data.input_shape)
    except TrainerError as error:
        weights = f" ({context.config.model.init_weights})" if context.pretrained is not None else ""
        raise PipelineError(f"model: {error}{weights}") from error
    if context.config.query.n_init < 2 and has_batch_norm(model):
        raise PipelineError("query.n_init: a network with batch norm needs at least 2 labels to train on, got 1")


def _equal(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())
