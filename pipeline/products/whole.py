"""The network of a run that learned from a backbone's features, from images to outputs: backbone, scaling and head."""

import torch
from torch import nn

from trainer.data import DataSet
from trainer.models import ModelSpec, build
from trainer.models.on_backbone import PREFIX, OnBackbone

EXAMPLES = 5
"""Images that its port is verified on, of those of the run: as many as go through it at once."""


def whole_network(data: DataSet, spec: ModelSpec, head: nn.Module) -> tuple[ModelSpec, OnBackbone]:
    """Return which network maps images, values from 0 to 1, to the outputs that a head has of their features.

    Args:
        data: the run's, features with the images that they are of.
        spec: of the head.
        head: the head, trained.

    Raises:
        TrainerError: the backbone cannot be had any more.

    """
    made = data.embedded
    assert made is not None
    options = {"size": list(made.size), "head": spec.name, "head_options": dict(spec.options)}
    whole = ModelSpec(f"{PREFIX}{made.backbone}", made.images.input_shape, spec.num_classes, options)
    network = build(whole, 0)
    assert isinstance(network, OnBackbone)
    network.head.load_state_dict(head.state_dict())
    network.center.copy_(torch.tensor(data.mean))
    network.deviation.copy_(torch.tensor(data.std))
    return whole, network
