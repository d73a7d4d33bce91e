"""Small torch networks of the kinds that this project trains, with randomised batch-norm statistics."""

import numpy as np
import torch
from torch import nn


def randomise(module):
    """Give every batch norm statistics and scales as after a training, and set evaluation mode."""
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.running_mean.normal_(0, 0.3)
                layer.running_var.uniform_(0.4, 2.0)
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.normal_(0, 0.2)
    return module.eval()


def mlp(channels=1, side=8):
    layers = [nn.Linear(channels * side**2, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)]
    return randomise(nn.Sequential(nn.Flatten(), *layers))


def cnn(channels=1, side=8):
    return randomise(
        nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3, padding=1, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(12 * (side // 2) ** 2, 10),
        )
    )


class BasicBlock(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += self.shortcut(x)
        return self.relu(y)


def resnet(channels=3, width=4, blocks=1):
    layers, current = [nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()], width
    for group in range(4):
        for block in range(blocks):
            layers.append(BasicBlock(current, width * 2**group, 2 if group and not block else 1))
            current = width * 2**group
    return randomise(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(current, 10)))


class PreActivation(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(c_in), nn.BatchNorm2d(c_out)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.project = nn.Conv2d(c_in, c_out, 1, stride, bias=False) if c_in != c_out or stride != 1 else None

    def forward(self, x):
        active = torch.relu(self.bn1(x))
        y = self.conv2(torch.relu(self.bn2(self.conv1(active))))
        return y + (x if self.project is None else self.project(active))


def wide_resnet(channels=1, widths=(8, 16)):
    layers, current = [nn.Conv2d(channels, 4, 3, 1, 1, bias=False)], 4
    for group, width in enumerate(widths):
        layers.append(PreActivation(current, width, 2 if group else 1))
        current = width
    tail = [nn.BatchNorm2d(current), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(current, 10)]
    return randomise(nn.Sequential(*layers, *tail))


NETWORKS = {
    "mlp": (mlp, (1, 8, 8)),
    "cnn": (cnn, (1, 8, 8)),
    "resnet": (resnet, (3, 8, 8)),
    "wide_resnet": (wide_resnet, (1, 8, 8)),
}


class Forward(nn.Module):
    """A learned scale and shift in front of any function, so that every case has a gradient to compare.

    At a kink the shift tells the derivatives apart: that of the scale is multiplied by the input, which may be zero.
    """

    def __init__(self, function, channels=3, layer=None):
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, channels)[:, None, None])
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))
        self.function = function
        self.layer = layer

    def forward(self, x):
        x = x * self.scale + self.shift
        return self.function(x) if self.layer is None else self.function(self.layer(x))


def examples(shape, count=6, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


class TwoInputs(nn.Module):
    """Takes tokens and numbers, returns a dictionary."""

    def __init__(self):
        super().__init__()
        self.table, self.layer = nn.Embedding(7, 4), nn.Linear(5, 4)

    def forward(self, tokens, numbers):
        words = self.table(tokens).mean(1)
        return {"sum": words + self.layer(numbers), "parts": (words, None), "first": tokens[:, 0]}
