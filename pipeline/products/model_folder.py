"""``model/`` read back: the network with all that it takes to use it; no torch, no data and no code of a user's own.

It may come from anybody, so nothing in it is taken on trust and nothing in it is executed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.losses import Loss, get_loss
from common.reading import read_json
from pipeline.errors import PipelineError
from pipeline.products.predictions import Outputs
from trainer.data.by_id import ImageView

FOLDER, ABOUT, PORT, SOURCE, WEIGHTS = "model", "model.json", "port", "network.py", "weights.safetensors"
FORMAT = 1
BATCH = 128
"""Samples that go through the network at once; the last ones are filled up, so that it is compiled for one size."""
LARGEST = 2**24  # bytes of model.json


@dataclass(frozen=True)
class About:
    """What ``model.json`` says.

    Args:
        network: name, options, input shape and number of classes, as ``trainer.models.ModelSpec`` takes them.
        classes: their names in the order of the outputs.
        loss: that the network was trained with, which says what outputs mean.
        features: whether it takes features and no images.
        mean: per channel, of values between 0 and 1; per feature.
        std: standard deviation likewise.
        depth: which of the 65,536 values of 16-bit greys becomes black, and how many bits are lost.
        span: which floats of arrays are black and white.
        ported: whether there is a Flax port.
        run: its id.
        cycle: of the network in the run.
        labels: that it was trained on.

    """

    network: Mapping[str, Any]
    classes: tuple[str, ...]
    loss: str
    features: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    depth: tuple[int, int]
    span: tuple[float, float]
    ported: bool
    run: str
    cycle: int
    labels: int

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one input."""
        channels, height, width = self.network["input_shape"]
        return int(channels), int(height), int(width)

    @property
    def trained_with(self) -> Loss:
        """The loss itself."""
        return get_loss(self.loss)

    def normalised(self, stored: np.ndarray) -> np.ndarray:
        """Return what the network takes.

        Args:
            stored: images as bytes from 0 to 255, or features, ``[n, C, H, W]``.

        """
        scale = 1.0 if self.features else 255.0
        return ImageView(stored, scale, self.mean, self.std, "inputs")()

    def plain(self) -> dict[str, Any]:
        """Return what ``model.json`` holds of it."""
        return {
            "format": FORMAT,
            "run": self.run,
            "cycle": self.cycle,
            "labels": self.labels,
            "classes": list(self.classes),
            "network": dict(self.network),
            "loss": self.loss,
            "input": {
                "kind": "features" if self.features else "images",
                "mean": list(self.mean),
                "std": list(self.std),
                "depth": list(self.depth),
                "span": list(self.span),
            },
            "port": PORT if self.ported else None,
        }


def read_about(folder: Path) -> About:
    """Read ``model.json``.

    Args:
        folder: with it.

    Raises:
        PipelineError: it is missing, damaged or of another version.

    """
    path = folder / ABOUT
    expected = f"{path}: expected what 'pipeline products' wrote"
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise PipelineError(f"{expected}, but there is no such file: name a run or a folder model of its products")
    try:
        plain = read_json(path, LARGEST)
        if plain["format"] != FORMAT:
            raise PipelineError(f"{path} has format {plain['format']!r}, this version reads {FORMAT}: write it again")
        about = _parsed(plain)
    except PipelineError:
        raise
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise PipelineError(f"{expected}, but it is damaged ({type(error).__name__}: {reason})") from error
    return about


def _parsed(plain: Any) -> About:
    network, taken = plain["network"], plain["input"]
    channels, height, width = (_whole(size, 1) for size in network["input_shape"])
    classes = tuple(str(name) for name in plain["classes"])
    mean, std = (tuple(float(value) for value in taken[key]) for key in ("mean", "std"))
    low, shift = (_whole(value, 0) for value in taken["depth"])
    black, white = (float(value) for value in taken["span"])
    _require(taken["kind"] in ("images", "features"), "kind of input")
    _require(len(mean) == len(std) == channels and all(map(math.isfinite, mean)), "mean and std")
    _require(all(math.isfinite(value) and value > 0 for value in std), "std")
    _require(len(classes) == len(set(classes)) == _whole(network["num_classes"], 2), "classes")
    _require(all(name and name.isprintable() for name in classes), "names of classes")
    _require(low < 2**16 and shift <= 8 and 0 <= black < white <= 1, "depth and span")
    _require(isinstance(network["name"], str) and isinstance(network["options"], dict), "network")
    get_loss(plain["loss"])
    return About(
        network={**network, "input_shape": [channels, height, width]},
        classes=classes,
        loss=plain["loss"],
        features=taken["kind"] == "features",
        mean=mean,
        std=std,
        depth=(low, shift),
        span=(black, white),
        ported=plain["port"] == PORT,
        run=str(plain["run"]),
        cycle=_whole(plain["cycle"], 0),
        labels=_whole(plain["labels"], 0),
    )


def _whole(value: Any, least: int) -> int:
    _require(type(value) is int and least <= value < 2**31, "a whole number")
    return int(value)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"{what}: not as expected")


def ported_outputs(about: About, port: Path) -> Outputs:
    """Return the network of a port, which JAX runs.

    Args:
        about: the network.
        port: folder of the port.

    Raises:
        PipelineError: the port is damaged, or is not of this network.

    """
    from migrator import MigratorError, load

    try:
        ported = load(port)
    except MigratorError as error:
        raise PipelineError(str(error)) from error
    shapes = [tuple(value.spec.example) for value in ported.graph.inputs]
    if shapes != [about.input_shape]:
        raise PipelineError(f"{port} takes inputs {shapes}, but {ABOUT} says {about.input_shape}: write both again")
    outputs = in_batches(lambda x: ported.apply_fn(ported.variables, x))
    found = outputs(np.zeros((1, *about.input_shape), np.float32)).shape
    if found != (1, len(about.classes)):
        raise PipelineError(f"{port} has outputs {list(found)} for {len(about.classes)} classes: write both again")
    return outputs


def in_batches(apply: Outputs) -> Outputs:
    """Return a JAX function that is always given the same number of samples, in full float32 precision.

    Args:
        apply: maps ``[BATCH, C, H, W]`` to ``[BATCH, C]``.

    """
    import jax

    def outputs(x: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(x), BATCH):
            part = x[start : start + BATCH]
            filled = np.zeros((BATCH, *x.shape[1:]), np.float32)
            filled[: len(part)] = part
            with jax.default_matmul_precision("highest"):
                parts.append(np.asarray(apply(filled))[: len(part)])
        return np.concatenate(parts)

    return outputs
