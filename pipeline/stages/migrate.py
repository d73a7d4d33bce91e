"""Stage ``migrate``: the trained network in Flax, proved equal on real images of the run."""

from pathlib import Path

import torch

from migrator import MigratorError, migrate, save, verify
from pipeline.errors import RunFailedError
from pipeline.pool import Labelled
from pipeline.stages.train import WEIGHTS
from pipeline.workbench import Workbench
from trainer.checkpoint import load_weights

VARIABLES = "model.safetensors"
EXAMPLES = 8
"""Real images on which the port is compared with torch."""


def run_migrate(bench: Workbench, labelled: Labelled, trained: Path, into: Path) -> None:
    """Port the trained network to Flax and verify outputs, gradients and a small kernel block in float64.

    Args:
        bench: the run's constants.
        labelled: where the images of the parity check come from.
        trained: the cycle's train stage.
        into: directory to write the port and its report to.

    Raises:
        RunFailedError: the port differs from the network; nothing is written.

    """
    model = bench.network()
    load_weights(model, trained / WEIGHTS)
    images = bench.images(labelled.ids[:EXAMPLES])
    try:
        port = migrate(model, (torch.zeros(2, *bench.data.input_shape),))
        port.report = verify(model, port, images)
        save(port, into)
    except MigratorError as error:
        raise RunFailedError(f"the port to Flax failed: {error}") from error
