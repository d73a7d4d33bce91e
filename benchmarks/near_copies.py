"""Near-copies: which of those that are made are found, and which pairs of different classes are joined without any.

    python benchmarks/near_copies.py mnist --data-root data
    python benchmarks/near_copies.py cifar10 --data-root data
    python benchmarks/near_copies.py folder:photos
    python benchmarks/near_copies.py folder:photos --features        # of a network, as backbone_features.py has it

Copies are made of some images as they are stored: saved as JPEG of quality 75, scaled to three quarters and back, moved
by a pixel, 5 % brighter and darker.  A pair counts as found up to SHARE of the typical distance to the nearest other
image, as `pipeline.cold.copies` says; pairs of different classes are counted on the images without any copy.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from backbone_features import BACKBONE, embedded
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.cold.copies import SHARE, typical_distance
from pipeline.cold.points import SIDE, shrunk
from trainer.backbones import open_backbone
from trainer.data import load

SHARES = (0.2, SHARE, 0.4, 0.5)


def jpeg(image: Image.Image) -> Image.Image:
    """Saved and read again."""
    content = io.BytesIO()
    image.save(content, "JPEG", quality=75)
    return Image.open(content).convert(image.mode)


def scaled(image: Image.Image) -> Image.Image:
    """To three quarters and back."""
    width, height = image.size
    return image.resize((width * 3 // 4, height * 3 // 4), Image.Resampling.BICUBIC).resize((width, height))


def brighter(factor: float) -> Callable[[Image.Image], Image.Image]:
    """Every value times a factor."""
    return lambda image: Image.fromarray(np.clip(np.asarray(image, float) * factor, 0, 255).astype(np.uint8))


MADE: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG, quality 75": jpeg,
    "scaled to 75 % and back": scaled,
    "moved by a pixel": lambda image: Image.fromarray(np.roll(np.asarray(image), 1, axis=1)),
    "5 % brighter": brighter(1.05),
    "5 % darker": brighter(0.95),
}


def stored(dataset: str, root: Path | None, count: int) -> tuple[list[Image.Image], NDArray]:
    """Images as they are stored, and their classes."""
    if dataset.startswith("folder:"):
        files = sorted(Path(dataset.removeprefix("folder:")).glob("*/*"))[:count]
        names = np.array([file.parent.name for file in files])
        return [Image.open(file).convert("RGB") for file in files], names
    half = load(dataset, root=root).train
    images = [Image.fromarray(x[0] if len(x) == 1 else x.transpose(1, 2, 0)) for x in half.images[:count]]
    return images, half.labels[:count]


def pixels(images: list[Image.Image], side: int) -> NDArray[np.uint8]:
    """As a network would see them, ``[N, C, side, side]``."""
    fitted = [np.asarray(ImageOps.fit(image, (side, side), Image.Resampling.BILINEAR)) for image in images]
    return np.stack([x[None] if x.ndim == 2 else x.transpose(2, 0, 1) for x in fitted])


@click.command()
@click.argument("dataset")
@click.option("--data-root", type=click.Path(path_type=Path))
@click.option("--count", default=3000, show_default=True, help="Images.")
@click.option("--copied", default=150, show_default=True, help="Images of which copies are made.")
@click.option("--size", type=int, help="Pixels that a network sees.  [28 of MNIST, 128 with --features, else 32]")
@click.option("--features", is_flag=True, help="Of a pretrained network instead of pixels.")
def main(dataset: str, data_root: Path | None, count: int, copied: int, size: int | None, features: bool) -> None:
    """Count what is found and what is joined."""
    images, classes = stored(dataset, data_root, count)
    side = size or (128 if features else 28 if dataset == "mnist" else 32)
    net = open_backbone(BACKBONE) if features else None

    def points(of: list[Image.Image]) -> NDArray[np.float32]:
        x = pixels(of, side)
        if net is not None:
            return embedded(net, x, 255, side)
        return shrunk(x.astype(np.float32) / 255, SIDE).reshape(len(x), -1)

    chosen = np.random.default_rng(0).permutation(len(images))[:copied]
    clean = points(images)
    mean = clean.mean(0)

    def unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return (x - mean) / np.linalg.norm(x - mean, axis=1, keepdims=True)

    seen = unit(clean)
    typical = typical_distance(seen, 0)
    i, j = np.triu_indices(len(seen), 1)
    distances = np.sqrt(np.maximum(2 - 2 * (seen @ seen.T)[i, j], 0))
    print(f"{dataset}, {len(images)} images, {clean.shape[1]} dimensions, typical distance {typical:.2f}\n")
    print("| | " + " | ".join(f"{share:g}" for share in SHARES) + " |\n|---" + "|---" * len(SHARES) + "|")
    pairs = [(distances <= share * typical, classes[i] != classes[j]) for share in SHARES]
    joined = [f"{(near & differ).sum()} of {near.sum()}" for near, differ in pairs]
    print("| pairs of different classes without copies | " + " | ".join(joined) + " |")
    for name, make in MADE.items():
        away = np.linalg.norm(unit(points([make(images[n]) for n in chosen])) - seen[chosen], axis=1)
        print(f"| {name} | " + " | ".join(f"{(away <= share * typical).mean():.0%}" for share in SHARES) + " |")


if __name__ == "__main__":
    main()
