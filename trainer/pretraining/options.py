"""The options of ``trainer pretrain``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from common.command_line import Finite
from trainer.command_options import SEEDED
from trainer.models import MODELS
from trainer.pretraining import DEFAULT_METHOD, METHODS

MINUTES = 10.0
"""Where neither epochs nor minutes are given."""
Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def _one_length(ctx: click.Context, _: click.Parameter, minutes: float | None) -> float | None:
    """Return the minutes, by default where no epochs are given; refuse both."""
    epochs = ctx.params.get("epochs")
    if epochs is not None and minutes is not None:
        raise click.BadParameter("expected --epochs or --minutes, got both: leave one out")
    return MINUTES if epochs is None and minutes is None else minutes


OPTIONS = (
    click.option(
        "--model", default="cnn", show_default=True, help=f"One of {', '.join(MODELS)}, or your own: PKG.MOD:FACTORY."
    ),
    click.option(
        "--option", "model_options", multiple=True, metavar="KEY=VALUE", help="Option of the model, e.g. width=64."
    ),
    click.option("--init", help="Weights to start from: a file, or a folder of an earlier pretraining."),
    click.option(
        "--method",
        type=click.Choice(list(METHODS)),
        default=DEFAULT_METHOD,
        show_default=True,
        help="What is learned by.",
    ),
    click.option("--epochs", type=click.IntRange(1, 10**6), is_eager=True, help="Passes over the images."),
    click.option(
        "--minutes",
        type=Finite(min=0, min_open=True, max=10**6),
        callback=_one_length,
        help=f"About so long, as a few steps take now, in place of epochs.  [{MINUTES:g}]",
    ),
    click.option(
        "--batch-size", type=click.IntRange(2, 2**20), default=256, show_default=True, help="Images in one step."
    ),
    click.option(
        "--max-lr",
        type=Finite(min=0, min_open=True, max=10),
        default=2e-3,
        show_default=True,
        help="The highest learning rate (AdamW).",
    ),
    click.option("--weight-decay", type=Finite(min=0, max=10), default=1e-4, show_default=True, help="Of AdamW."),
    click.option(
        "--smallest-crop",
        type=Finite(min=0.01, max=1),
        default=0.2,
        show_default=True,
        help="The least share of an image that a view shows; 1 shows all.",
    ),
    click.option("--flip/--no-flip", default=None, help="Whether views are mirrored.  [of colour images only]"),
    click.option(
        "--colour",
        "--color",
        "colour",
        type=Finite(min=0, max=2),
        default=1.0,
        show_default=True,
        help="How much brightness and colours of views differ; 0: not at all.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["float32", "bfloat16"]),
        default="float32",
        show_default=True,
        help="Of the network's products.",
    ),
    click.option(
        "--threads", type=click.IntRange(min=1, max=4096), help="Of torch on the CPU.  [what suits network and machine]"
    ),
    click.option("--device", default="cpu", show_default=True, help="Where to train, e.g. cuda:0."),
    SEEDED,
    click.option(
        "--out", type=click.Path(path_type=Path), required=True, help="A new or empty folder, or that of this training."
    ),
)


def pretrain_options(command: Decorated) -> Decorated:
    """Give a command the options that say how features are learned."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command
