"""The options that several commands of ``trainer`` have, and those that say how a network is trained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from common.losses import LOSSES
from trainer.data import DATASETS
from trainer.data.augment import AUGMENTATIONS
from trainer.data.perturb import PERTURBATIONS
from trainer.errors import TrainerError
from trainer.learners import LEARNERS
from trainer.options import DECAYED, STATISTICS
from trainer.regimes import OPTIMIZERS, SCHEDULES

SEED = click.IntRange(0, 2**64 - 1)
"""What torch takes."""
Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Numbers(click.ParamType):
    """Numbers with commas between them.

    Args:
        kind: int or float.

    """

    name = "numbers"

    def __init__(self, kind: type[int] | type[float]) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int | float, ...]:
        """Return the numbers of a text.

        Args:
            value: the text.
            param: the option, for messages.
            ctx: of the command, for messages.

        """
        try:
            return tuple(self.kind(part) for part in str(value).split(","))
        except ValueError:
            self.fail(
                f"expected numbers such as {'0,10' if self.kind is int else '0.5,0.8'}, got {value!r}", param, ctx
            )


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise TrainerError(f"--set data.test_fraction: expected a number such as 0.2, got {text!r}") from error


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise TrainerError(
            f"--set: expected true or false, as data.skip_bad=true or data.stratified=true, got {text!r}"
        )
    return text.lower() == "true"


SETTABLE: dict[str, Callable[[str], Any]] = {
    "data.mode": str,
    "data.test_fraction": _share,
    "data.skip_bad": _truth,
    "data.classes": str,
    "data.stratified": _truth,
    "data.leave_out": str,
    "data.feature_store": str,
}


REGIME = (
    click.option("--epochs", type=int, help="The most passes over the labelled images."),
    click.option("--batch-size", type=int, help="The most images in one step."),
    click.option("--max-lr", type=float, help="The highest learning rate of the schedule."),
    click.option("--optimizer", help=f"One of {', '.join(OPTIMIZERS)}.  [sgd; of linear exact]"),
    click.option("--momentum", type=float, help="Of SGD; of Adam its beta 1."),
    click.option("--weight-decay", type=float, help="Of the optimiser."),
    click.option("--schedule", help=f"Of the learning rate: one of {', '.join(SCHEDULES)}.  [1cycle]"),
    click.option("--cycle-momentum", is_flag=True, default=None, help="Let the momentum of a 1cycle fall and rise."),
    click.option(
        "--milestones", type=Numbers(float), help="Shares of the epochs at which multi-step decays, as 0.5,0.8."
    ),
    click.option("--decay", type=float, help="What multi-step multiplies the rate by.  [0.1]"),
    click.option("--loss", help=f"One of {', '.join(LOSSES)}."),
    click.option("--learner", help=f"What is minimised: one of {', '.join(LEARNERS)}.  [supervised]"),
    click.option("--tolerance", type=float, help="Stop once ||R||_F/sqrt(L) is at most this."),
    click.option(
        "--until-accuracy", type=float, help="Stop once the labelled images' accuracy is above this, as 0.99."
    ),
    click.option("--holdout", type=float, help="Share of the labelled images to hold out; needs --patience."),
    click.option("--patience", type=int, help="Stop after so many epochs without a lower loss on these, and go back."),
    click.option("--batch-norm", help=f"Its statistics in eval mode: {' or '.join(STATISTICS)}.  [restated]"),
    click.option("--keep-epochs", type=Numbers(int), help="Keep the weights after these epochs too, as 0,10,100."),
    click.option("--restarts", type=int, help="How often a failing training begins again at a lower rate.  [8]"),
    click.option("--ridge", type=float, help="Of exact, relative to the kernel's mean diagonal.  [by leaving one out]"),
    click.option("--decayed", help=f"What decays: {' or '.join(DECAYED)}, which leaves biases and norms out.  [all]"),
    click.option("--epoch-steps", type=int, help="Steps of an epoch, where not one pass over the labelled images."),
    click.option("--unlabelled-ratio", type=int, help="Images without labels for each labelled one in a step.  [3]"),
    click.option("--unlabelled-weight", type=float, help="Of their part of the loss.  [the learner's]"),
    click.option("--ramp", type=float, help="Share of the steps in which that weight rises.  [0.4]"),
    click.option(
        "--confidence", type=float, help="The least probability of a class that fixmatch takes for a label.  [0.95]"
    ),
    click.option("--ema", type=float, help="The most of averaged weights that a step leaves.  [the learner's]"),
    click.option(
        "--perturb", help=f"How images without labels are changed, beyond --augment: auto, {', '.join(PERTURBATIONS)}."
    ),
    click.option("--augment", help=f"One of {', '.join(AUGMENTATIONS)}; training batches only."),
)
"""One for each field of ``trainer.options.TrainOptions``."""


def regime_options(command: Decorated) -> Decorated:
    """Give a command the options that say how a network is trained."""
    for option in reversed(REGIME):
        command = option(command)
    return command


IMAGES = (
    click.option(
        "--dataset",
        default="digits",
        show_default=True,
        help=f"One of {', '.join(DATASETS)}, or your own: folder:PATH, npz:PATH.",
    ),
    click.option("--image-size", help="Scale and crop your own images to N or HxW pixels."),
    click.option("--classes", help="Names of your own data's classes, such as cat,dog.  [those of its labels]"),
    click.option(
        "--set",
        "sets",
        multiple=True,
        metavar="data.KEY=VALUE",
        help=f"How your own data is read: {', '.join(SETTABLE)}.",
    ),
    click.option("--data-root", type=click.Path(path_type=Path), help="Folder in torchvision's layout."),
    click.option("--download", is_flag=True, help="Fetch missing files into the data root."),
)
"""Which images, and how they are read."""
BACKBONE = (
    click.option(
        "--backbone",
        help="Learn from a pretrained network's features of the images; 'pipeline list backbones' names them.",
    ),
    click.option(
        "--finetune",
        type=click.Choice(["head", "all"]),
        help="Train on the backbone with a new last layer: all of it, or the head alone.",
    ),
    click.option("--backbone-size", type=int, help="Pixels of a side that it sees.  [what suits it and the images]"),
)
"""By which pretrained network they are seen."""
SEEDED = click.option("--seed", type=SEED, default=0, show_default=True, help="Of every choice.")


def data_options(command: Decorated) -> Decorated:
    """Add the options that say which images, shared by every command."""
    for option in reversed(
        (
            *IMAGES,
            *BACKBONE,
            click.option(
                "--n-labelled",
                "--n-labeled",
                type=click.IntRange(min=1),
                help="Label that many training images at random.",
            ),
            click.option(
                "--labelled",
                "--labeled",
                type=click.Path(path_type=Path),
                help="JSON list of the ids of the labelled training images.",
            ),
            SEEDED,
            click.option("--out", type=click.Path(path_type=Path), required=True, help="A new or empty folder."),
        )
    ):
        command = option(command)
    return command


def image_options(command: Decorated) -> Decorated:
    """Add the options that say which images, without any that says which are labelled."""
    for option in reversed(IMAGES):
        command = option(command)
    return command
