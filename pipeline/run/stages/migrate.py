"""Stage ``migrate``: the trained network in Flax, proved equal on real images of the run."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import nn

from migrator import Migrated, MigratorError, migrate, refresh, save, verify
from pipeline.errors import RunFailedError
from pipeline.run.context import RunContext
from pipeline.run.pool import Labelled
from pipeline.run.stages.train import WEIGHTS
from trainer.checkpoint import load_weights

VARIABLES = "model.safetensors"
EXAMPLES = 8
"""Real images on which the port is compared with torch."""
_last: dict[str, Migrated] = {}
"""The last network that was ported in this process, by its architecture."""


def run_migrate(context: RunContext, labelled: Labelled, trained: Path, into: Path) -> None:
    """Port the trained network to Flax and verify outputs, gradients and a small kernel block in float64.

    Args:
        context: the run's constants.
        labelled: where the images of the parity check come from.
        trained: the cycle's train stage.
        into: directory to write the port and its report to.

    Raises:
        RunFailedError: the port differs from the network; nothing is written.

    """
    model = context.network()
    load_weights(model, trained / WEIGHTS)
    images = context.images(labelled.ids[:EXAMPLES])
    try:
        save(_verified(context, model, images), into)
    except MigratorError as error:
        raise RunFailedError(f"the port to Flax failed: {error}; strategies such as entropy need no port") from error


def _verified(context: RunContext, model: nn.Module, images: np.ndarray) -> Migrated:
    """Port and verify; the forward pass of the last network is not recorded again where the new one equals it."""
    architecture = context.spec.to_json()
    if architecture in _last:
        with suppress(MigratorError):  # not the same network after all
            port = refresh(_last[architecture], model)
            port.report = verify(model, port, images)
            return port
    port = migrate(model, (torch.zeros(2, *context.data.input_shape),))
    port.report = verify(model, port, images)
    _last.clear()
    _last[architecture] = port
    return port
