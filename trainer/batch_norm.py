"""Running statistics of batch norm: exact for the weights that are kept, not a lagging average."""

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

CHUNK = 512  # images in one forward pass


def has_batch_norm(model: nn.Module) -> bool:
    """Whether a network contains batch norm, which cannot train on a batch of one image."""
    return any(isinstance(module, _BatchNorm) for module in model.modules())


@torch.no_grad()
def restate_statistics(model: nn.Module, x: Tensor) -> None:
    """Replace the running means and variances by those of the given images at the present weights.

    During training the running statistics follow the weights with a delay of about ten steps, which is many epochs
    when an epoch is one step; the network in eval mode is then not the one that was trained, and its residual is
    too large. One pass over the labelled images, averaged with equal weight, removes the delay. The pass is split
    into chunks of equal size, to within one image. Does nothing to a network without batch norm.

    Source: Wu & Johnson 2021, section 3 (PreciseBN).

    Args:
        model: the network; left in eval mode. Only running statistics change.
        x: normalised images ``[L, C, H, W]``, L >= 2, on the network's device.

    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    model.eval()
    if not layers:
        return
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch: cumulative average
        layer.train()
    try:
        for rows in x.tensor_split(math.ceil(len(x) / CHUNK)):
            model(rows.clone())  # a layer may work in place
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        model.eval()
