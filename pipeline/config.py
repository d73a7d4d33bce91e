"""The configuration of a run: one strict model, from defaults, a YAML file, options and ``--set``."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal, Self, get_type_hints

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from common.files import sha256_of
from common.losses import get_loss
from linearize import KernelOptions, Measure
from pipeline.annotators.plugins import is_plugin
from pipeline.annotators.simulated import Habits
from pipeline.errors import PipelineError
from pipeline.parsing import parse_yaml
from pipeline.plain import merged
from pipeline.queries import LookAheadOptions, Resolved, resolve
from trainer.data import DATASETS, ImageOptions, custom_kind
from trainer.data.labels import class_names
from trainer.models import ModelSpec, family_of
from trainer.options import TrainOptions, options_for

DEFAULT_CRITERION = "margin-influence"
"""What did best on MNIST, and best one answer at a time: see benchmarks/RESULTS.md."""

UNSCIENTIFIC = (
    "device",
    "threads",
    "data.root",
    "data.download",
    "kernel.memory_budget",
    "model.init_weights",
    "annotator.budget",
)
"""Fields that say where and with what a run is computed, not what: they may change when it is resumed.

Of a file of weights the content counts, which model.init_sha256 records; so does that of a user's own data, which the
first event records: of such a name only the kind is scientific.
"""


class Section(BaseModel):
    """A strict, immutable part of the configuration: unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _sha256(name: str) -> str:
    try:
        return sha256_of(Path(name).expanduser())
    except (OSError, RuntimeError) as error:
        raise ValueError(f"init_weights: cannot read {name}: {error}") from error


def _overrides(name: str, options: type, base: type[Section] = Section) -> type[Section]:
    """A section with the fields of an options dataclass, each optional: absent means that dataclass's own default."""
    hints = get_type_hints(options)
    definitions: dict[str, Any] = {field.name: (hints[field.name] | None, None) for field in fields(options)}
    return create_model(name, __base__=base, **definitions)


class _WithLoss(Section):
    @field_validator("loss", check_fields=False)
    @classmethod
    def _registered(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                get_loss(name)
            except ValueError as error:
                raise ValueError(str(error).removeprefix("loss: ")) from error
        return name


TrainSection = _overrides("TrainSection", TrainOptions, _WithLoss)
KernelSection = _overrides("KernelSection", KernelOptions)


class DataSection(Section):
    """Which data; the last five fields are of a user's own alone, and absent for registered data sets."""

    name: str = "digits"
    root: str | None = None
    download: bool = False
    image_size: int | str | None = None
    mode: Literal["auto", "rgb", "grey"] | None = None
    test_fraction: float | None = None
    skip_bad: bool | None = None
    classes: list[str] | None = None

    @field_validator("classes", mode="before")
    @classmethod
    def _names(cls, given: Any) -> Any:
        """Let ``cat,dog`` stand for a list of these, and numbers for their digits."""
        return list(class_names(given)) if isinstance(given, str | int | list | tuple) else given

    @field_validator("name")
    @classmethod
    def _registered(cls, name: str) -> str:
        if name not in DATASETS and not custom_kind(name):
            raise ValueError(f"expected one of {', '.join(DATASETS)}, folder:PATH or npz:PATH; got {name!r}")
        return name

    @model_validator(mode="after")
    def _resolve(self) -> Self:
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

    """

    name: str = "simulated"
    noise: float = Field(default=0.0, ge=0, le=1)
    skip: float = Field(default=0.0, ge=0, le=1)
    disagree: float = Field(default=0.0, ge=0, le=1)
    late: float = Field(default=0.0, ge=0, le=1)
    missing: float = Field(default=0.0, ge=0, le=1)
    budget: int | None = Field(default=None, ge=1)
    overlap: float | None = Field(default=None, ge=0, le=1)

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in ("simulated", "files", "page") and not is_plugin(name):
            raise ValueError(f"expected simulated, files or MODULE:OBJECT for one of your own, got {name!r}")
        return name

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        if self.name != "simulated" and self.habits != Habits():
            raise ValueError(f"expected habits of the simulated annotator alone, got some of {self.name}")
        if self.name != "page" and (self.budget is not None or self.overlap is not None):
            raise ValueError(f"budget and overlap: expected with the annotator page alone, got {self.name}")
        if (total := self.skip + self.late + self.missing) > 1:
            raise ValueError(f"skip, late and missing: expected shares that add up to at most 1, got {total:g}")
        return self

    @property
    def habits(self) -> Habits:
        """The annotator's."""
        return Habits(**self.model_dump(exclude={"name", "budget", "overlap"}))


class QuerySection(Section):
    """What is asked of the annotator; the fields that may be absent concern strategies that look ahead, and others not.

    Args:
        strategy: who chooses.
        on: whose outputs entropy, margin and least-confidence read, the ``network``'s or the ``linearized`` network's;
            resolved to the strategy's name, ``margin-lin`` for ``margin`` on the latter.
        n_init: labels to start with.
        size: asked for in one query.
        subset: candidates of a cycle.
        mode: how a query of several is chosen, see ``linearize.Mode``; as the strategy's name says, else ``top``.
        retrain_every: answers between two trainings; by default those to one query, ``size``.
        reference: what change is measured from; the criterion's own.
        distance: between which outputs; ``outputs``.
        naive_candidates: how many are really retrained with by ``naive``.

    """

    strategy: str = f"{DEFAULT_CRITERION}-sequential"
    n_init: int = Field(default=40, ge=1)
    size: int = Field(default=20, ge=1)
    subset: int = Field(default=400, ge=1)
    on: Literal["network", "linearized"] | None = None
    mode: Literal["top", "greedy", "sequential"] | None = None
    retrain_every: int | None = Field(default=None, ge=1)
    reference: Literal["network", "linearized"] | None = None
    distance: Literal["outputs", "simplex"] | None = None
    naive_candidates: int | None = Field(default=None, ge=1)

    @property
    def answers(self) -> int:
        """Labels that a cycle asks for between two trainings."""
        return self.retrain_every or self.size

    @property
    def look_ahead(self) -> LookAheadOptions:
        """What strategies that look ahead are told."""
        return LookAheadOptions(
            self.resolved.mode, Measure(self.reference, self.distance or "outputs"), self.naive_candidates
        )

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
        if self.mode is not None and "strategy" not in self.model_fields_set:
            object.__setattr__(self, "strategy", DEFAULT_CRITERION)
        if self.on is not None or not _recorded(info):
            object.__setattr__(self, "strategy", resolve(self.strategy, self.mode, self.on).name)
            object.__setattr__(self, "on", None)  # said by the name
        for name, count in (("size", self.size), ("retrain_every", self.answers)):
            if count > self.subset:
                raise ValueError(f"{name}: expected at most the subset of {self.subset} candidates, got {count}")
        return self


class RunConfig(Section):
    """Everything that determines a run.

    Args:
        data: the data set and where it lies.
        model: the network.
        train: overrides of ``trainer.TrainOptions``; resolved to the network family's defaults on construction.
        kernel: overrides of ``linearize.KernelOptions``; resolved likewise.
        query: strategy and sizes.
        annotator: who answers; by default the simulated annotator, correctly and at once.
        cycles: networks trained; a query follows each but the last.
        start: ``warm`` trains on from the previous cycle's weights, ``cold`` from the initial ones.
        seed: of every random stream.
        device: where torch computes, e.g. ``cpu`` or ``cuda``; ``auto`` takes a GPU when there is one.
        threads: of torch on the CPU; by default what suits network and machine (``trainer.threads``), recorded when the
            run begins and kept.

    """

    data: DataSection = DataSection()
    model: ModelSection = ModelSection()
    train: TrainSection = Field(default_factory=TrainSection)  # type: ignore[valid-type]
    kernel: KernelSection = Field(default_factory=KernelSection)  # type: ignore[valid-type]
    query: QuerySection = QuerySection()
    annotator: AnnotatorSection | None = None
    cycles: int = Field(default=6, ge=1)
    start: Literal["warm", "cold"] = "warm"
    seed: int = Field(default=0, ge=0)
    device: str = "auto"
    threads: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _resolve(self) -> Self:
        train = asdict(options_for(self.model.name, **self.train.model_dump()))  # type: ignore[attr-defined]
        kernel = asdict(self.kernel_options)
        object.__setattr__(self, "train", TrainSection(**train))
        object.__setattr__(self, "kernel", KernelSection(**kernel))
        return self

    @property
    def simulated(self) -> bool:
        """Whether the data's own labels answer."""
        return self.who == "simulated"

    @property
    def who(self) -> str:
        """Who answers, by name."""
        return "simulated" if self.annotator is None else self.annotator.name

    @property
    def by_files(self) -> bool:
        """Whether people answer by tables."""
        return self.who == "files"

    @property
    def takes_given_labels(self) -> bool:
        """Whether labels that lie in the data count as given: where people answer about data of their own."""
        return not self.simulated and custom_kind(self.data.name) is not None

    @property
    def paged(self) -> bool:
        """Whether people answer on the page of ``pipeline label``."""
        return self.who == "page"

    @property
    def train_options(self) -> TrainOptions:
        """How the network is trained."""
        return options_for(self.model.name, **self.train.model_dump())  # type: ignore[attr-defined]

    @property
    def kernel_options(self) -> KernelOptions:
        """How the kernel is computed."""
        given = self.kernel.model_dump().items()  # type: ignore[attr-defined]
        return KernelOptions(**{name: value for name, value in given if value is not None})

    def model_spec(self, input_shape: tuple[int, int, int], num_classes: int) -> ModelSpec:
        """Return which network this is for images of a shape.

        Args:
            input_shape: (C, H, W) of one image.
            num_classes: C.

        """
        return ModelSpec(self.model.name, input_shape, num_classes, dict(self.model.options))

    def scientific(self) -> dict[str, Any]:
        """Return the fields that determine the result, without those that only say where it is computed."""
        plain = self.model_dump(mode="json")
        for path in UNSCIENTIFIC:
            *parents, last = path.split(".")
            section = plain
            for parent in parents:
                section = section[parent] or {}
            section.pop(last, None)
        plain["data"]["name"] = custom_kind(self.data.name) or self.data.name
        sections = (plain, plain["data"], plain["model"], plain["query"], plain["annotator"] or {})
        for section in sections:  # an absent field says nothing
            for name in [name for name, value in section.items() if value is None]:
                section.pop(name)
        return plain

    def digest(self) -> str:
        """Return the SHA-256 of the scientific fields."""
        return hashlib.sha256(json.dumps(self.scientific(), sort_keys=True).encode()).hexdigest()

    def to_yaml(self) -> str:
        """Return the fully resolved configuration as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def load_config(
    file: Path | None = None,
    options: Mapping[str, Any] | None = None,
    sets: Iterable[str] = (),
    base: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Build a configuration: defaults, ``base``, the file, options, then ``a.b=c`` settings; the last one wins.

    Args:
        file: YAML with any subset of the fields.
        options: dotted paths to values; None values are ignored.
        sets: settings such as ``train.epochs=50``; the value is read as YAML.
        base: any subset of the fields, such as a preset's.

    Returns:
        The validated, fully resolved configuration.

    Raises:
        PipelineError: an unreadable file, an unknown key, a wrong type or a value out of range; one line.

    """
    return validate(gather(file, options, sets, base))


def gather(
    file: Path | None = None,
    options: Mapping[str, Any] | None = None,
    sets: Iterable[str] = (),
    base: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what ``load_config`` makes a configuration of, as plain values: nothing that they name is looked up.

    Args:
        file: as of ``load_config``, like all that follow.
        options: dotted paths to values.
        sets: settings.
        base: any subset of the fields.

    Raises:
        PipelineError: an unreadable file, or a setting that is none.

    """
    values = merged(base or {}, _read_yaml(file) if file else {})
    for path, value in (options or {}).items():
        if value is not None:
            _assign(values, path, value)
    for setting in sets:
        path, separator, text = setting.partition("=")
        if not separator or not path:
            raise PipelineError(f"--set: expected key=value such as train.epochs=50, got {setting!r}")
        if not text.strip():
            raise PipelineError(f"--set {path}: expected a value after '=', got none")
        _assign(values, path, parse_yaml(text, f"--set {path}"))
    return values


def validate(values: Any, *, recorded: bool = False) -> RunConfig:
    """Turn plain values into a configuration.

    Args:
        values: any subset of the fields.
        recorded: whether these were valid when a run or grid wrote them down: a user's own strategy may be gone since.

    Raises:
        PipelineError: an unknown key, a wrong type or a value out of range; one line.

    """
    try:
        return RunConfig.model_validate(values, context={"recorded": recorded})
    except ValidationError as error:
        raise PipelineError("; ".join(_one_line(detail) for detail in error.errors())) from error


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"config: cannot read {file}: {error}") from error
    values = parse_yaml(text, str(file))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise PipelineError(f"config: expected {file} to hold keys and values, got {type(values).__name__}")
    return values


def _assign(values: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for depth, parent in enumerate(parents):
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise PipelineError(f"config: {'.'.join(parents[: depth + 1])} is a value, so {path} cannot be set")
    values[last] = value


def _one_line(detail: Any) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        section: Any = RunConfig()
        for part in detail["loc"][:-1]:
            section = getattr(section, part)
        return f"config: there is no key {where!r}; there are {', '.join(type(section).model_fields)}"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error":
        return f"config: {where}: {message}" if where else f"config: {message}"
    return f"config: {where}: {message[0].lower()}{message[1:]}, got {detail['input']!r}"
