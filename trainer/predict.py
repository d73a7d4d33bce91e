"""Outputs and accuracy of a trained network."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainer.errors import TrainerError


def predict(
    model: nn.Module, x: NDArray[np.float32], *, batch_size: int = 128, device: str = "cpu"
) -> NDArray[np.float32]:
    """Return outputs of a network in eval mode, without gradients and never augmented.

    Args:
        model: the network; its mode and device are afterwards what they were.
        x: normalised inputs, float32 ``[N, C, H, W]``.
        batch_size: images in one forward pass; bounds the memory, and more would not stay in a processor's cache.
        device: where to compute.

    Returns:
        float32 ``[N, num_classes]``: as trained, so not probabilities.

    """
    training = model.training
    try:
        with placed(model, device), torch.no_grad():
            model.eval()
            parts = [  # of copies: a layer may work in place
                model(torch.tensor(x[start : start + batch_size], device=device)).float().cpu().numpy()
                for start in range(0, max(len(x), 1), batch_size)
            ]
    finally:
        model.train(training)
    return np.concatenate(parts)


def accuracy(outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the fraction of rows whose largest output is at the label.

    Args:
        outputs: ``[N, C]``.
        labels: ``[N]``.

    Raises:
        TrainerError: no rows, or not one label a row.

    """
    if len(outputs) == 0 or len(outputs) != len(labels):
        raise TrainerError(f"accuracy needs one label per output row, got {len(outputs)} rows, {len(labels)} labels")
    return float(np.mean(outputs.argmax(axis=1) == labels))


@contextmanager
def placed(model: nn.Module, device: str) -> Iterator[None]:
    """Lend a network to a device, and bring it back.

    Args:
        model: the network.
        device: where it is for that long, e.g. "cuda:0".

    Raises:
        TrainerError: there is no such device, or it cannot hold the network.

    """
    home = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    try:
        model.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        raise TrainerError(f"device {device!r} cannot be used ({error}); try 'cpu'") from error
    try:
        yield
    finally:
        model.to(home)


def release_cached_memory() -> None:
    """Give the GPU memory that torch keeps for later back to the driver, so that another framework can have it."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
