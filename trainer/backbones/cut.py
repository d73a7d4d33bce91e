"""A classifier without its last layer: what that layer sees is what comes out."""

import numpy as np
import torch
from torch import Tensor, nn

from trainer.errors import TrainerError
from trainer.features import last_layer
from trainer.models.spec import Shape


class Cut(nn.Module):
    """A network whose last layer passes on what it is given.

    Args:
        net: the network.

    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Return features ``[N, d]``."""
        out: Tensor = self.net(x)
        return out.flatten(1)


def without_last_layer(net: nn.Module, input_shape: Shape) -> nn.Module:
    """Return a network, in eval mode, that ends before its last linear layer, which must be the last to run.

    Args:
        net: the network; its last layer is replaced.
        input_shape: (C, H, W) of one image.

    Raises:
        TrainerError: it does not end in a linear layer.

    """
    return Cut(_cut(net, last_name(net, input_shape))).eval()


def last_name(net: nn.Module, input_shape: Shape) -> str:
    """Return the name of the linear layer that runs last and whose outputs are the network's.

    Args:
        net: the network, in eval mode.
        input_shape: (C, H, W) of one image.

    Raises:
        TrainerError: it does not end in one.

    """
    ran: list[nn.Module] = []
    linear = [(name, layer) for name, layer in net.named_modules() if isinstance(layer, nn.Linear)]
    handles = [layer.register_forward_hook(lambda module, *_: ran.append(module)) for _, layer in linear]
    try:
        last_layer(net, np.zeros((1, *input_shape), np.float32))  # refuses what goes on after it
    except TrainerError as error:
        raise TrainerError(str(error).removesuffix(", or choose a strategy without features")) from error
    finally:
        for handle in handles:
            handle.remove()
    return next(name for name, layer in linear if layer is ran[-1])


def _cut(net: nn.Module, name: str) -> nn.Module:
    if not name:  # the network is that layer
        return nn.Identity()
    with torch.no_grad():
        net.set_submodule(name, nn.Identity())
    return net
