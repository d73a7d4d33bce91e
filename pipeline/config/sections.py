"""The sections of a run's configuration: data, network, training, kernel, annotator and query."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal, Self, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from common.files import sha256_of
from common.losses import get_loss
from common.memory import available_memory
from common.naming import did_you_mean, one_of
from common.reading import why
from linearize import KernelOptions, Measure
from pipeline.annotators.plugins import is_plugin
from pipeline.annotators.simulated import Habits
from pipeline.queries import LookAheadOptions, Resolved, resolve
from pipeline.queries.lookahead import LookAheadStrategy
from trainer.backbones import kind_of
from trainer.backbones.base import LEAST, MOST
from trainer.data import DATASETS, ImageOptions, custom_kind
from trainer.data.labels import class_names, left_out_names
from trainer.errors import TrainerError
from trainer.models import family_of
from trainer.options import TrainOptions

DEFAULT_CRITERION = "margin-influence"
"""What did best on MNIST, and best one answer at a time: see benchmarks/RESULTS.md."""
DEFAULT_STRATEGY = f"{DEFAULT_CRITERION}-sequential"
MANY, REFERENCES = 5000, 256
"""Candidates from which on so many stand for all where scores are sums over them: benchmarks/RESULTS.md."""


class Section(BaseModel):
    """A strict, immutable part of the configuration: unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _sha256(name: str) -> str:
    try:
        return sha256_of(Path(name).expanduser(), available_memory())
    except (OSError, RuntimeError) as error:
        raise ValueError(f"init_weights: cannot read {name}: {why(error)}") from error


def _overrides(name: str, options: type, base: type[Section] = Section) -> type[Section]:
    """A section with the fields of an options dataclass, each optional: absent means that dataclass's own default."""
    hints = get_type_hints(options)
    definitions: dict[str, Any] = {field.name: (hints[field.name] | None, None) for field in fields(options)}
    return create_model(name, __base__=base, **definitions)


class _Regime(Section):
    @field_validator("milestones", "keep_epochs", mode="before", check_fields=False)
    @classmethod
    def _listed(cls, given: Any) -> Any:
        """Let a YAML list, or one number, stand for the tuple."""
        if isinstance(given, int | float) and not isinstance(given, bool):
            return (given,)
        return tuple(given) if isinstance(given, list) else given

    @field_validator("loss", check_fields=False)
    @classmethod
    def _registered(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                get_loss(name)
            except ValueError as error:
                raise ValueError(str(error).removeprefix("loss: ")) from error
        return name


TrainSection = _overrides("TrainSection", TrainOptions, _Regime)
KernelSection = _overrides("KernelSection", KernelOptions)


class DataSection(Section):
    """Which data, and whose features stand for images; seven fields are of a user's own alone, absent for the others.

    Args:
        name: a registered data set, ``folder:PATH`` or ``npz:PATH``.
        root: of registered data sets.
        download: whether they may be fetched.
        image_size: this and the next six as of ``trainer.data.ImageOptions``.
        mode: likewise.
        test_fraction: likewise.
        skip_bad: likewise.
        classes: likewise.
        stratified: likewise.
        leave_out: likewise.
        backbone: the network whose features are learned from, in the place of the images.
        finetune: what of the backbone is trained on, with a new last layer: ``head`` or ``all``; absent, its features
            are computed once.
        backbone_size: pixels of a side that it sees; what suits network and images where absent.
        feature_store: the folder that features are kept in; the user's cache directory where absent.

    """

    name: str = "digits"
    root: str | None = None
    download: bool = False
    image_size: int | str | None = None
    mode: Literal["auto", "rgb", "grey"] | None = None
    test_fraction: float | None = None
    skip_bad: bool | None = None
    classes: list[str] | None = None
    stratified: bool | None = None
    leave_out: list[str] | None = None
    backbone: str | None = None
    finetune: Literal["head", "all"] | None = None
    backbone_size: int | None = Field(default=None, ge=LEAST, le=MOST)
    feature_store: str | None = None

    @field_validator("classes", "leave_out", mode="before")
    @classmethod
    def _names(cls, given: Any, info: ValidationInfo) -> Any:
        """Let ``cat,dog`` stand for a list of these, and numbers for their digits."""
        read = class_names if info.field_name == "classes" else left_out_names
        return list(read(given)) if isinstance(given, str | int | list | tuple) else given

    @field_validator("name")
    @classmethod
    def _registered(cls, name: str) -> str:
        if name not in DATASETS and not custom_kind(name):
            raise ValueError(one_of(name, DATASETS, ", folder:PATH or npz:PATH"))
        return name

    @field_validator("backbone")
    @classmethod
    def _kind(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                kind_of(name)
            except TrainerError as error:
                raise ValueError(str(error).removeprefix("backbone: ")) from error
        return name

    @model_validator(mode="after")
    def _resolve(self) -> Self:
        more = (self.finetune, self.backbone_size, self.feature_store)
        if self.backbone is None and any(value is not None for value in more):
            raise ValueError(
                "finetune, backbone_size and feature_store: expected with data.backbone, which is not given"
            )
        given = self._given()
        if custom_kind(self.name):
            for name, value in asdict(self.image_options).items():
                object.__setattr__(self, name, list(value) if isinstance(value, tuple) else value)
        elif given:
            raise ValueError(f"{next(iter(given))}: expected folder:PATH or npz:PATH with it, got {self.name!r}")
        return self

    @property
    def image_options(self) -> ImageOptions:
        """How a user's own images are read."""
        return ImageOptions(**self._given())

    def _given(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(ImageOptions)}
        return {name: value for name, value in values.items() if value is not None}


class ModelSection(Section):
    """Which network, and the weights that it starts from where these are not random."""

    name: str = "cnn"
    options: dict[str, Any] = Field(default_factory=dict)
    init_weights: str | None = None
    init_skip: list[str] | None = None
    init_sha256: str | None = None

    @field_validator("init_skip", mode="before")
    @classmethod
    def _names(cls, given: Any) -> Any:
        """Let one name stand for a list of it, and 3, which YAML reads as a number, for the layer ``3``."""
        listed = [given] if isinstance(given, str | int) else given
        return [str(name) if type(name) is int else name for name in listed] if isinstance(listed, list) else listed

    @model_validator(mode="after")
    def _resolve(self) -> Self:
        family_of(self.name).resolve(self.options)
        if self.init_weights is None:
            if self.init_skip is not None or self.init_sha256 is not None:
                raise ValueError("init_skip and init_sha256: expected with model.init_weights, which is not given")
        elif self.init_sha256 is None:
            object.__setattr__(self, "init_sha256", _sha256(self.init_weights))
        if self.init_skip is not None and not all(self.init_skip):
            raise ValueError("init_skip: expected names of layers, got an empty one")
        return self


def _recorded(info: ValidationInfo) -> bool:
    return bool(info.context and info.context["recorded"])


class AnnotatorSection(Section):
    """Who answers, and how the simulated annotator strays from answering correctly at once, as shares of the samples.

    Args:
        name: ``simulated`` knows the data's labels; ``MODULE:OBJECT`` is one of the user's own, see
            ``pipeline.annotators.Annotator``; ``files`` hands questions out in a table and takes answers in;
            ``page`` is whoever answers on the page of ``pipeline label``, where a run has no end: ``cycles`` says
            nothing, and a network is trained whenever there are ``query.answers`` more labels and the last one is done.
        noise: labelled with a wrong class.
        skip: skipped.
        disagree: labelled in two ways by two annotators, and then by a third.
        late: answered one question later, for the next round's training.
        missing: never answered.
        budget: labels that people give on the page before it stops asking; None for no limit.
        overlap: share of the images that the page asks every annotator about.
        check: images drawn at random that the page asks about to measure accuracy, and that nothing is trained on.

    """

    name: str = "simulated"
    noise: float = Field(default=0.0, ge=0, le=1)
    skip: float = Field(default=0.0, ge=0, le=1)
    disagree: float = Field(default=0.0, ge=0, le=1)
    late: float = Field(default=0.0, ge=0, le=1)
    missing: float = Field(default=0.0, ge=0, le=1)
    budget: int | None = Field(default=None, ge=1)
    overlap: float | None = Field(default=None, ge=0, le=1)
    check: int | None = Field(default=None, ge=1)

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in ("simulated", "files", "page") and not is_plugin(name):
            own = "expected simulated, files or MODULE:OBJECT for one of your own"
            raise ValueError(f"{own}, got {name!r}{did_you_mean(name, ('simulated', 'files'))}")
        return name

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        if self.name != "simulated" and self.habits != Habits():
            raise ValueError(f"expected habits of the simulated annotator alone, got some of {self.name}")
        if self.name != "page" and any(one is not None for one in (self.budget, self.overlap, self.check)):
            raise ValueError(f"budget, overlap and check: expected with the annotator page alone, got {self.name}")
        if (total := self.skip + self.late + self.missing) > 1:
            raise ValueError(f"skip, late and missing: expected shares that add up to at most 1, got {total:g}")
        return self

    @property
    def habits(self) -> Habits:
        """The annotator's."""
        return Habits(**self.model_dump(exclude={"name", "budget", "overlap", "check"}))


class QuerySection(Section):
    """What is asked of the annotator; the fields that may be absent concern strategies that look ahead, and others not.

    Args:
        strategy: who chooses.
        on: whose outputs entropy, margin and least-confidence read, the ``network``'s or the ``linearized`` network's;
            resolved to the strategy's name, ``margin-lin`` for ``margin`` on the latter.
        n_init: labels to start with.
        initial: how those are chosen: ``auto`` or a name of ``cold.representatives``; absent in runs of older versions,
            which drew them at random. ``balanced`` draws equally many of each class by labels that nobody has given.
        initial_models: networks trained on the initial set, of which the one of median accuracy on unlabelled training
            samples asks first, by labels that nobody has given.
        by_class: whether a query has equally many samples of each class, by labels that nobody has given.
        size: asked for in one query.
        subset: candidates of a cycle.
        mode: how a query of several is chosen, see ``linearize.Mode``; as the strategy's name says, else ``top``.
        retrain_every: answers between two trainings; by default those to one query, ``size``.
        reference: what change is measured from; the criterion's own.
        distance: between which outputs; ``outputs``.
        naive_candidates: how many are really retrained with by ``naive``.
        group: how many candidates ``crc`` scores together; a tenth of the query where absent.
        references: how many candidates, drawn at random, stand for all in the scores of strategies that are a sum over
            them; 0 takes all, as do runs that do not say it.  By default 256 of ``MANY`` candidates or more.
        dropout_passes: how often the network is sampled by strategies that need dropout; see ``run.stages.trained``.
        learner: what the strategy needs networks to be trained by, which the run writes down; None where any will do.

    """

    strategy: str = DEFAULT_STRATEGY
    n_init: int = Field(default=40, ge=1)
    initial: Literal["auto", "random", "typiclust", "k-means", "balanced"] | None = None
    initial_models: int | None = Field(default=None, ge=2)
    by_class: bool | None = None
    size: int = Field(default=20, ge=1)
    subset: int = Field(default=400, ge=1)
    on: Literal["network", "linearized"] | None = None
    mode: Literal["top", "greedy", "sequential"] | None = None
    retrain_every: int | None = Field(default=None, ge=1)
    reference: Literal["network", "linearized"] | None = None
    distance: Literal["outputs", "simplex"] | None = None
    naive_candidates: int | None = Field(default=None, ge=1)
    group: int | None = Field(default=None, ge=1)
    references: int | None = Field(default=None, ge=0)
    dropout_passes: int | None = Field(default=None, ge=2)
    learner: str | None = None

    @property
    def answers(self) -> int:
        """Labels that a cycle asks for between two trainings."""
        return self.retrain_every or self.size

    @property
    def balanced(self) -> bool:
        """Whether each query has equally many samples of each class."""
        return bool(self.by_class)

    @property
    def look_ahead(self) -> LookAheadOptions:
        """What strategies that look ahead are told."""
        return LookAheadOptions(
            self.resolved.mode,
            Measure(self.reference, self.distance or "outputs"),
            self.naive_candidates,
            self.group,
            self.references,
        )

    @property
    def _sums(self) -> bool:
        """Whether scores are a sum over the candidates, which a sample of them is enough for."""
        strategy = self.resolved.strategy
        return isinstance(strategy, LookAheadStrategy) and strategy.criterion.sums(self.look_ahead.measure)

    @property
    def resolved(self) -> Resolved:
        """Who chooses, and how several at once.

        Raises:
            PipelineError: the strategy cannot be loaded any more.

        """
        return resolve(self.strategy, self.mode)

    @field_validator("strategy")
    @classmethod
    def _registered(cls, name: str, info: ValidationInfo) -> str:
        if not _recorded(info):
            resolve(name)  # which need not call itself by the name it was found by
        return name

    @model_validator(mode="after")
    def _fits(self, info: ValidationInfo) -> Self:
        if "initial" not in self.model_fields_set and not _recorded(info):
            object.__setattr__(self, "initial", "auto")
        if self.mode is not None and "strategy" not in self.model_fields_set:
            object.__setattr__(self, "strategy", DEFAULT_CRITERION)
        if self.on is not None or not _recorded(info):
            found = resolve(self.strategy, self.mode, self.on)
            needed = found.strategy.needs_learner
            if self.learner not in (None, needed):
                raise ValueError(
                    f"learner: expected it to be left out, for train.learner says it; got {self.learner!r}"
                )
            object.__setattr__(self, "strategy", found.name)
            object.__setattr__(self, "on", None)  # said by the name
            object.__setattr__(self, "learner", needed)
        if self.references is None and not _recorded(info) and self.subset >= MANY and self._sums:
            object.__setattr__(self, "references", REFERENCES)
        if (self.group or 1) > self.answers:
            raise ValueError(f"group: expected at most the {self.answers} labels of a query, got {self.group}")
        for name, count in (("size", self.size), ("retrain_every", self.answers)):
            if count > self.subset:
                raise ValueError(f"{name}: expected at most the subset of {self.subset} candidates, got {count}")
        return self
