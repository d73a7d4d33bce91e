"""The configuration of a run: its sections and what they come to."""

import hashlib
import json
from dataclasses import asdict
from typing import Any, Literal, Self

from pydantic import (
    Field,
    model_validator,
)

from linearize import KernelOptions
from pipeline.config.sections import (
    AnnotatorSection,
    DataSection,
    KernelSection,
    ModelSection,
    QuerySection,
    Section,
    TrainSection,
)
from pipeline.parsing import to_yaml
from pipeline.plain import merged
from trainer.backbones import OWN, kind_of
from trainer.backbones.tuned import FROZEN_MODEL, tuned_model
from trainer.data import custom_kind, holds_features
from trainer.errors import TrainerError
from trainer.models import ModelSpec
from trainer.models.on_backbone import PREFIX
from trainer.options import TrainOptions, options_for

UNSCIENTIFIC = (
    "device",
    "threads",
    "data.root",
    "data.download",
    "data.feature_store",
    "kernel.memory_budget",
    "model.init_weights",
    "annotator.budget",
    "annotator.check",
)
"""Fields that say where and with what a run is computed, not what: they may change when it is resumed.

Of a file of weights the content counts, which model.init_sha256 records; so does that of a user's own data, which the
first event records: of such a name only the kind is scientific.
"""
LATER = {
    "learner": "supervised",
    "optimizer": "sgd",
    "schedule": "1cycle",
    "cycle_momentum": False,
    "milestones": [],
    "decay": 0.1,
    "until_accuracy": None,
    "patience": None,
    "holdout": 0.0,
    "batch_norm": "restated",
    "keep_epochs": [],
    "restarts": 8,
    "ridge": None,
    "decayed": "all",
    "epoch_steps": None,
    "unlabelled_ratio": None,
    "unlabelled_weight": None,
    "ramp": None,
    "confidence": None,
    "ema": None,
    "perturb": None,
}
"""Fields of ``train`` that runs of older versions do not have, and what these did: saying so says nothing."""
MOST_THREADS = 4096
FEATURES_MODEL = "linear"
"""What learns from features, where no network is named: there is nothing in them to convolve."""
LATER_DATA = {"stratified": False}
"""Likewise of ``data``."""
LATER_QUERY = {"initial": "random"}
"""Likewise of ``query``."""


class RunConfig(Section):
    """Everything that determines a run.

    Args:
        data: the data set and where it lies.
        model: the network.
        train: overrides of ``trainer.TrainOptions``; resolved to the network family's defaults on construction, but for
            a ``learner`` that is not given: it is what the query strategy needs, else ``supervised``.
        kernel: overrides of ``linearize.KernelOptions``; resolved likewise.
        query: strategy and sizes.
        annotator: who answers; by default the simulated annotator, correctly and at once.
        cycles: networks trained; a query follows each but the last.
        start: ``warm`` trains on from the previous cycle's weights, ``cold`` from the initial ones, ``reinitialised``
            from random ones that are drawn anew for every cycle.
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
    start: Literal["warm", "cold", "reinitialised"] = "warm"
    seed: int = Field(default=0, ge=0)
    device: str = "auto"
    threads: int | None = Field(default=None, ge=1, le=MOST_THREADS)

    @model_validator(mode="before")
    @classmethod
    def _of_features(cls, values: Any) -> Any:
        """Let the network be ``linear`` on features, or the backbone, where nobody names another."""
        data, model = (values.get("data"), values.get("model")) if isinstance(values, dict) else (None, None)
        if not (model is None or (isinstance(model, dict) and "name" not in model)):
            return values

        def of_data(field: str) -> Any:
            return data.get(field) if isinstance(data, dict) else getattr(data, field, None)

        backbone, finetune, size = (of_data(field) for field in ("backbone", "finetune", "backbone_size"))
        if isinstance(backbone, str):
            named = FROZEN_MODEL if finetune is None else tuned_model(backbone, finetune, size)
            return {**values, "model": merged(named, model or {})}
        if holds_features(of_data("name")):
            return {**values, "model": merged({"name": FEATURES_MODEL}, model or {})}
        return values

    @model_validator(mode="after")
    def _resolve(self) -> Self:
        tuned = None if self.data.finetune is None else f"{PREFIX}{self.data.backbone}"
        if tuned != (self.model.name if self.model.name.startswith(PREFIX) or tuned else None):
            raise ValueError(
                f"model.name: a backbone is trained on by data.backbone and data.finetune, got {self.model.name!r}: "
                "leave it out"
            )
        given, needed = self.train.learner, self.query.learner  # type: ignore[attr-defined]
        if needed is not None and given not in (None, needed):
            raise ValueError(
                f"train.learner: expected {needed!r}, which the strategy {self.query.strategy!r} needs, got {given!r}: "
                "leave it out, or choose another strategy"
            )
        self._only_simulated()
        try:
            train = asdict(self.train_options) | {"learner": given}
            if self.train_options_for(2).max_lr != train["max_lr"]:
                train["max_lr"] = None  # the default, which the number of classes decides
        except TrainerError as error:
            raise ValueError(f"train.{error}") from error
        if (least := self.train_options.least_labelled) > self.query.n_init:
            raise ValueError(
                f"query.n_init: expected at least {least} labels to hold a share of {train['holdout']:g} of them out "
                f"(train.holdout), got {self.query.n_init}"
            )
        kernel = asdict(self.kernel_options)
        object.__setattr__(self, "train", TrainSection(**train))
        object.__setattr__(self, "kernel", KernelSection(**kernel))
        return self

    def _only_simulated(self) -> None:
        """Refuse what reads labels that nobody has given, where somebody is there to give them."""
        query = self.query
        for name, value, is_asked, instead in (
            ("initial", query.initial, query.initial == "balanced", "auto, random, typiclust or k-means"),
            ("initial_models", query.initial_models, query.initial_models is not None, "it to be left out"),
            ("by_class", query.by_class, query.balanced, "it to be left out"),
        ):
            if is_asked and not self.simulated:
                raise ValueError(
                    f"query.{name}: expected {instead}, for it reads labels that nobody has given, which the simulated "
                    f"annotator alone has; got {value!r} with the annotator {self.who!r}"
                )

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
        """How the network is trained, but for a default rate that depends on the classes."""
        return self.train_options_for(None)

    def train_options_for(self, num_classes: int | None) -> TrainOptions:
        """Return how a network is trained.

        Args:
            num_classes: C.

        """
        given = self.train.model_dump()  # type: ignore[attr-defined]
        given = {**given, "learner": given["learner"] or self.query.learner}
        return options_for(self.model.name, self.model.options, num_classes=num_classes, **given)

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
        if self.data.backbone is not None and kind_of(self.data.backbone) is OWN["FOLDER"]:
            plain["data"]["backbone"] = "FOLDER"  # the first event has the digest of its weights
            plain["model"]["name"] = plain["model"]["name"].replace(self.data.backbone, "FOLDER")
        plain["train"] = {name: value for name, value in plain["train"].items() if value != LATER.get(name)}
        plain["data"] = {name: value for name, value in plain["data"].items() if value != LATER_DATA.get(name)}
        plain["query"] = {name: value for name, value in plain["query"].items() if value != LATER_QUERY.get(name)}
        sections = (plain, plain["train"], plain["data"], plain["model"], plain["query"], plain["annotator"] or {})
        for section in sections:  # an absent field says nothing
            for name in [name for name, value in section.items() if value is None]:
                section.pop(name)
        return plain

    def digest(self) -> str:
        """Return the SHA-256 of the scientific fields."""
        return hashlib.sha256(json.dumps(self.scientific(), sort_keys=True).encode()).hexdigest()

    def to_yaml(self) -> str:
        """Return the fully resolved configuration as YAML."""
        return to_yaml(self.model_dump(mode="json"))
