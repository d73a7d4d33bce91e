"""What a network family offers (``Family``) and which network is meant (``ModelSpec``)."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn

from common.naming import did_you_mean
from trainer.errors import TrainerError

Shape = tuple[int, int, int]
OptionValue = int | float | bool
MOST = 2**31 - 1
"""The largest size of one axis that every tensor library takes."""
DEEPEST = 1000
"""The most layers of an option that counts them: each takes its time to make, whatever its size."""


@dataclass(frozen=True)
class Option:
    """One setting of a family: its default, which also fixes its type, and the values allowed.

    Args:
        default: an int, a float or a bool; given values must have the same type, but an int is a float too.
        help: half a line for people.
        minimum: the least value of a number.
        maximum: the greatest value of a number; None leaves it to what fits into a tensor and into memory.

    """

    default: OptionValue
    help: str
    minimum: float = 1
    maximum: float | None = None

    def check(self, where: str, value: Any) -> OptionValue:
        """Return the value itself, refused when its type or range is wrong.

        Args:
            where: how the message names the option.
            value: what was given.

        Raises:
            TrainerError: wrong type or out of range.

        """
        kind = type(self.default)
        if type(value) is not kind and not (kind is float and type(value) is int):
            point = "; write it without quotes, such as 0.001" * (kind is float)
            raise TrainerError(
                f"{where} must be of type {kind.__name__}, got {value!r} ({type(value).__name__}){point}"
            )
        if isinstance(self.default, bool):
            return bool(value)
        greatest = self.maximum if self.maximum is not None else MOST if kind is int else math.inf
        if not self.minimum <= value <= greatest or value == math.inf:
            upper = f" and at most {greatest}" if greatest < math.inf else ""
            raise TrainerError(f"{where} must be at least {self.minimum}{upper}, got {value}")
        return kind(value)


@dataclass(frozen=True)
class Family:
    """A registered kind of network.

    Args:
        name: the name users give.
        description: one line.
        source: where the architecture comes from.
        builder: ``builder(input_shape, num_classes, **options)``, called with every option filled in.
        options: the options it takes.
        training: the fields of ``trainer.options.TrainOptions`` whose default differs for this family.
        rated_for: classes from which on the default learning rate is ``training``'s; of C fewer it is C / rated_for of
            it where the loss is a mean over classes, whose curvature is proportional to 1/C. None for any number.

    """

    name: str
    description: str
    source: str
    builder: Callable[..., nn.Module]
    options: Mapping[str, Option]
    training: Mapping[str, float | str] = field(default_factory=dict)
    rated_for: int | None = None

    def resolve(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options of this family: those given, checked, and the defaults of the others.

        Args:
            options: name -> value.

        Raises:
            TrainerError: an option this family does not have, or a value it does not allow.

        """
        for name in options:
            if name not in self.options:
                names, meant = ", ".join(self.options), did_you_mean(name, self.options)
                raise TrainerError(f"{self.name} has no option {name!r}; its options are {names}{meant}")
        return {
            name: option.check(f"{self.name} option {name}", options.get(name, option.default))
            for name, option in self.options.items()
        }


@dataclass(frozen=True)
class ModelSpec:
    """Which network: everything needed to build it again, without its weights.

    Args:
        name: a key of ``trainer.models.MODELS``, or ``PKG.MOD:FACTORY``.
        input_shape: (C, H, W) of one image.
        num_classes: number of outputs.
        options: options that differ from the family's defaults.

    Raises:
        TrainerError: a shape or class count that no network can have.

    """

    name: str
    input_shape: Shape
    num_classes: int
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = tuple(int(size) for size in self.input_shape)
        if len(shape) != 3 or min(shape) < 1:
            raise TrainerError(f"input_shape must be three positive sizes (C, H, W), got {list(self.input_shape)}")
        if self.num_classes < 2:
            raise TrainerError(f"num_classes must be at least 2, got {self.num_classes}")
        object.__setattr__(self, "input_shape", shape)  # a list from JSON becomes the tuple it stands for
        object.__setattr__(self, "options", dict(self.options))

    def to_json(self) -> str:
        """Return one JSON object with the four fields."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"
