"""Backbones small enough for tests, of every kind that can be made here."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from trainer.models import ModelSpec, build

OWN = '''
import torch
from torch import nn


class Small(nn.Module):
    """Features of images: a convolution, averaged over four quarters."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 5, 3, padding=1), nn.AdaptiveAvgPool2d(2)
        self.input_size, self.mean, self.std = 8, (0.5, 0.5, 0.5), [0.25, 0.25, 0.25]

    def forward(self, x):
        return self.pool(self.conv(x).relu()).flatten(1)


def build():
    return Small()


def maps():
    return nn.Conv2d(3, 5, 3)


def fails():
    raise ValueError("no such file")


def ends():
    raise SystemExit(3)


number = 3
'''


def write_own(folder: Path, text: str = OWN, name: str = "my_eye") -> str:
    """Write a module of a user's own, and return the backbone's name."""
    (folder / f"{name}.py").write_text(text)
    return f"{name}:build"


def write_folder(folder: Path, family="cnn", shape=(3, 8, 8), classes=4, seed=0, **about) -> tuple[Path, nn.Module]:
    """Write what 'trainer pretrain' writes, and return it with the network."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {"width": 4} if family in ("cnn", "mlp") else {}
    net = build(ModelSpec(family, shape, classes, options), seed)
    channels = shape[0]
    plain = {
        "name": family,
        "input_shape": list(shape),
        "options": options,
        "mean": [0.4] * channels,
        "std": [0.2] * channels,
        **about,
    }
    (folder / "backbone.json").write_text(json.dumps(plain))
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, folder / "weights.safetensors")
    return folder, net


def pictures(n=6, shape=(3, 8, 8), seed=0) -> torch.Tensor:
    """Return images, values from 0 to 1."""
    return torch.from_numpy(np.random.default_rng(seed).random((n, *shape), np.float32))
