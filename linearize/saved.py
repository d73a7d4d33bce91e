"""What a service is made of, written to one file and read again."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.losses import Loss
from linearize.build import column_of, find_loss, plan_build, rectangle_of
from linearize.diagnostics import Diagnostics
from linearize.errors import LinearizeError
from linearize.inputs import Data, Network
from linearize.kernel import network_outputs
from linearize.options import KernelOptions
from linearize.posterior import Dense, Lazy, Posterior, Sampled
from linearize.storage import fingerprint, read_state, write_state


class Saved(NamedTuple):
    """A service's parts.

    Args:
        network: what was linearised.
        data: on what.
        options: how its kernel is computed.
        loss: that trained the network, calibrated.
        posterior: of the labelled set and the answers so far.
        diagnostics: figures to judge it by.

    """

    network: Network
    data: Data
    options: KernelOptions
    loss: Loss
    posterior: Posterior
    diagnostics: Diagnostics


def write(path: Path, service: Saved) -> None:
    """Write a service to one npz file, as a whole or not at all; of the network a fingerprint.

    Args:
        path: the file.
        service: its parts.

    Raises:
        LinearizeError: the kernel's head is a function of one's own, which no file can hold.
        OSError: it cannot be written.

    """
    if not isinstance(service.options.head, str):
        raise LinearizeError(f"save: expected a kernel head given by name, got {service.options.head}")
    meta = {
        "network": fingerprint(service.network.variables),
        "full": service.posterior.dense,
        "sampled": isinstance(service.posterior, Sampled),
        "options": asdict(service.options),
        "loss": service.loss.name,
        "scale": service.loss.scale,
        "diagnostics": asdict(service.diagnostics),
    }
    data = {f"data_{name}": value for name, value in service.data._asdict().items()}
    write_state(path, meta, data | service.posterior.arrays())


def read(path: Path, network: Network) -> Saved:
    """Read what ``write`` wrote; nothing in the file is executed.

    Args:
        path: the file.
        network: the same network.

    Raises:
        LinearizeError: the file is another one, or was saved with another network.

    """
    meta, arrays = read_state(path)
    if fingerprint(network.variables) != meta["network"]:
        raise LinearizeError(f"{path}: expected the variables it was saved with, got those of another network")
    data, options = (
        Data(**{name: arrays.pop(f"data_{name}") for name in Data._fields}),
        KernelOptions(**meta["options"]),
    )
    f = network_outputs(*network, data.pool[:1], precision=options.precision)
    if f.shape[1] != data.Y.shape[1] or not np.allclose(f, data.f_U[:1], rtol=1e-3, atol=1e-4):
        raise LinearizeError(f"{path}: expected the apply_fn it was saved with, got one with other outputs")
    loss = replace(find_loss(meta["loss"]), scale=meta["scale"])
    posterior: Posterior
    if meta["full"]:
        posterior = Dense.from_arrays(arrays)
    elif meta.get("sampled"):
        plan = plan_build(network, data, options, full=False, references=int(arrays["references_times"].sum()))
        posterior = Sampled.from_arrays(arrays, rectangle=rectangle_of(network, data.pool, plan))
    else:
        posterior = Lazy.from_arrays(arrays, column=column_of(network, data.pool, options, data.Y.shape[1]))
    return Saved(network, data, options, loss, posterior, Diagnostics(**meta["diagnostics"]))
