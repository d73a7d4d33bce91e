"""Folders of small images, as users keep them."""

from zlib import crc32

import numpy as np
from PIL import Image

from trainer.data import ImageOptions, load


def picture(seed, size=(8, 8), mode="RGB"):
    height, width = size
    shape = (height, width) if mode == "L" else (height, width, len(mode))
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8), mode)


def put(root, name, size=(8, 8), mode="RGB", seed=None):
    """Write an image at root/name, of its own unless a seed is given; lossless formats keep its pixels."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    image = picture(crc32(name.encode(errors="surrogateescape")) if seed is None else seed, size, mode)
    image.save(path, format="PNG" if path.suffix.lower() not in (".jpg", ".jpeg") else "JPEG")
    return np.asarray(image)


def read(root, labelled_only=False, **options):
    return load(f"folder:{root}", images=ImageOptions(**options), labelled_only=labelled_only)


def write_csv(root, text, encoding="utf-8"):
    (root / "labels.csv").write_bytes(text.encode(encoding))
