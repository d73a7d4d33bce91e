"""The features that `trainer pretrain` learned, as a data set for runs to start from.

    trainer pretrain --dataset cifar10 --data-root data --model resnet18 --option width=16 --epochs 25 --out pretrained
    python benchmarks/pretrain.py --pretrained pretrained --dataset cifar10 --data-root data --out features.npz
    pipeline run --dataset npz:features.npz --model linear

What the network's last layer sees of every image, as images of one channel and height 1 from 0 to 1.  The range that
scales them is that of the training images'.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from trainer.checkpoint import WEIGHTS, load_weights
from trainer.data import load
from trainer.data.arrays import SplitName
from trainer.data.by_id import ImageView
from trainer.features import embed
from trainer.models import build_model
from trainer.pretraining.folder import read_backbone

BATCH = 512
CLIPPED = 0.9999  # the quantile of the features that becomes 1


def into_a_folder(_: click.Context, __: click.Parameter, out: Path) -> Path:
    if not out.parent.is_dir():  # found out now, not after half an hour
        raise click.BadParameter(f"expected a file in a folder that exists, got {out}: make {out.parent} first")
    return out


@click.command()
@click.option("--pretrained", type=click.Path(path_type=Path), required=True, help="What `trainer pretrain` wrote.")
@click.option("--dataset", default="cifar10", show_default=True)
@click.option("--data-root", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, callback=into_a_folder, help="The .npz data set to write."
)
def main(pretrained: Path, dataset: str, data_root: Path | None, out: Path) -> None:
    """Write what the last layer sees as a data set of one-channel images of height 1, from 0 to 1."""
    network, data = read_backbone(pretrained), load(dataset, root=data_root)
    net = build_model(network["name"], network["input_shape"], network["num_classes"], **network["options"])
    load_weights(net, pretrained / WEIGHTS)
    constants = data.scale, tuple(network["mean"]), tuple(network["std"])
    views = {half: ImageView(getattr(data, half).images, *constants, half) for half in ("train", "test")}

    def seen(view: ImageView) -> NDArray[np.float32]:
        count = len(view.images)
        parts = np.array_split(np.arange(count), count // BATCH + 1)
        return np.concatenate([embed(net, view(ids)).features for ids in parts])

    ours: dict[SplitName, NDArray[np.float32]] = {"train": seen(views["train"]), "test": seen(views["test"])}
    write_features(out, ours, data.train.labels, data.test.labels)


def write_features(
    out: Path, ours: Mapping[SplitName, NDArray[np.float32]], y_train: NDArray[np.integer], y_test: NDArray[np.integer]
) -> None:
    """Write both halves' features ``[N, D]`` as a data set, scaled by the range of the training images'."""
    low, high = ours["train"].min(), np.quantile(ours["train"], CLIPPED)
    arrays = {f"x_{half}": np.clip((h - low) / (high - low), 0, 1)[:, None] for half, h in ours.items()}
    np.savez(out, y_train=y_train, y_test=y_test, **arrays)
    print(f"features [{arrays['x_train'].shape[2]}]: {out}")


if __name__ == "__main__":
    main()
