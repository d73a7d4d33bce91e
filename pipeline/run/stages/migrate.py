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


class Porter:
    """Ports networks to Flax; of one architecture, the forward pass is recorded once.

    Whoever ports again and again holds one, and the last network's recording with it.
    """

    def __init__(self) -> None:
        self._last: tuple[str, Migrated] | None = None

    def __call__(self, context: RunContext, model: nn.Module, images: np.ndarray) -> Migrated:
        """Port a network and verify outputs, gradients and a small kernel block in float64.

        Args:
            context: the run's constants.
            model: the network.
            images: real ones to compare on ``[N, ...]``.

        Raises:
            MigratorError: it cannot be ported, or the port differs from it.

        """
        architecture = context.spec.to_json()
        if self._last is not None and self._last[0] == architecture:
            with suppress(MigratorError):  # not the same network after all
                port = refresh(self._last[1], model)
                port.report = verify(model, port, images)
                return port
        port = migrate(model, (torch.zeros(2, *context.data.input_shape),))
        port.report = verify(model, port, images)
        self._last = architecture, port
        return port


def run_migrate(
    context: RunContext, labelled: Labelled, trained: Path, into: Path, porter: Porter | None = None
) -> None:
    """Port the trained network to Flax and verify it.

    Args:
        context: the run's constants.
        labelled: where the images of the parity check come from.
        trained: the cycle's train stage.
        into: directory to write the port and its report to.
        porter: the one that ported the networks of earlier cycles; a new one where absent.

    Raises:
        RunFailedError: the port differs from the network; nothing is written.

    """
    model = context.network()
    load_weights(model, trained / WEIGHTS)
    images = context.images(labelled.ids[:EXAMPLES])
    try:
        save((porter or Porter())(context, model, images), into)
    except MigratorError as error:
        raise RunFailedError(f"the port to Flax failed: {error}; strategies such as entropy need no port") from error
