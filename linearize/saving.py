"""A service's state in one file."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from linearize.diagnostics import Diagnostics
from linearize.errors import LinearizeError
from linearize.held import Held
from linearize.inputs import Data, Network
from linearize.kernel import network_outputs
from linearize.options import KernelOptions
from linearize.probabilities import CrossEntropy
from linearize.regression import Factored, Rectangle, Regression
from linearize.storage import fingerprint, read_state, write_state


class Saved(NamedTuple):
    """What is written of a service, beside its network."""

    data: Data
    options: KernelOptions
    diagnostics: Diagnostics
    held: Held


def save(path: Path, network: Network, saved: Saved) -> None:
    """Write a state as a whole or not at all; of the network a fingerprint.

    Raises:
        OSError: it cannot be written.

    """
    held = saved.held
    arrays = {f"state_{name}": np.asarray(value) for name, value in held.rows._asdict().items()}
    arrays |= {f"data_{name}": value for name, value in saved.data._asdict().items()}
    arrays |= {f"factored_{name}": np.asarray(value) for name, value in held.factored._asdict().items()}
    arrays |= held.dump()
    step = held.probabilities.step if isinstance(held.probabilities, CrossEntropy) else None
    meta = {
        "network": fingerprint(network.variables),
        "full": held.full,
        "options": asdict(saved.options),
        "probabilities": "softmax" if step is not None else held.probabilities,
        "step": step,
        "diagnostics": asdict(saved.diagnostics),
    }
    write_state(path, meta, arrays)


def load(path: Path, network: Network) -> Saved:
    """Read what ``save`` wrote.

    Raises:
        LinearizeError: the file is another one, or was saved with another network.

    """
    meta, arrays = read_state(path)
    if fingerprint(network.variables) != meta["network"]:
        raise LinearizeError(f"{path}: expected the variables it was saved with, got those of another network")
    parts: dict[str, dict[str, Any]] = {"state": {}, "data": {}, "factored": {}, "answers": {}}
    for name, value in arrays.items():
        part, _, field = name.partition("_")
        parts[part][field] = float(value) if field == "jitter" else value
    data, options = Data(**parts["data"]), KernelOptions(**meta["options"])
    f = network_outputs(*network, data.pool[:1], precision=options.precision)
    if f.shape[1] != data.Y.shape[1] or not np.allclose(f, data.f_U[:1], rtol=1e-3, atol=1e-4):
        raise LinearizeError(f"{path}: expected the apply_fn it was saved with, got one with other outputs")
    factored, diagnostics = Factored(**parts["factored"]), Diagnostics(**meta["diagnostics"])
    state = Regression(**parts["state"]) if meta["full"] else Rectangle(**parts["state"])
    step = meta.get("step")  # absent in files of older versions
    probabilities = meta["probabilities"] if step is None else CrossEntropy(step)
    held = Held(network, data, options, factored, state, diagnostics.ridge, probabilities)
    held.restore(parts["answers"])
    return Saved(data, options, diagnostics, held)
