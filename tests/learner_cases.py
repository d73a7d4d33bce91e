"""Networks and regimes that the tests of learners share."""

import torch
from torch import nn

from trainer.models import build_model
from trainer.options import TrainOptions

LEARNER = "loss-prediction"
PLAIN = TrainOptions(epochs=10, max_lr=0.05, tolerance=0.0, restarts=0, learner=LEARNER)
SHAPE = (1, 8, 8)


def network(name="cnn", seed=0, **options):
    narrow = {"cnn": {"width": 4}, "mlp": {"width": 8}, "resnet18": {"width": 4}, "wide_resnet": {"max_width": 8}}
    return build_model(name, SHAPE, 10, seed, **{**narrow[name], **options})


def hooks(model):
    return [len(module._forward_hooks) + len(module._forward_hooks_with_kwargs) for module in model.modules()]


def copied(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


class Inplace(nn.Module):
    """Convolutions whose outputs are written into, one ReLU for all, pools, and two linear layers."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 5, 3, padding=1)
        self.relu, self.pool, self.top = nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)
        self.hidden, self.head = nn.Linear(5, 6), nn.Linear(6, 10)

    def forward(self, x):
        h = self.pool(self.relu(self.one(x)))
        h = self.top(self.relu(self.two(h))).flatten(1)
        return self.head(self.relu(self.hidden(input=h)))


PLACES = {
    "cnn": [("1", 0, False, 4), ("3", 0, False, 8), ("5", 0, False, 8)],
    "mlp": [("3", 0, True, 8), ("5", 0, True, 8)],
    "resnet18": [
        ("blocks.1", 0, False, 4), ("blocks.3", 0, False, 8), ("blocks.5", 0, False, 16), ("blocks", 0, False, 32),
    ],
    "wide_resnet": [("relu", 0, False, 8)],
}  # fmt: skip
