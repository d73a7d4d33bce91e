"""Inputs and regimes that the tests of learners of images without labels share."""

import numpy as np
import torch
from torch import nn

from trainer.learners import LEARNERS, Setting
from trainer.options import options_for

SHAPE, CLASSES = (1, 6, 6), 3


def made_up(count, seed=0, shape=SHAPE):
    """Return inputs of three classes that are told apart by where they are bright, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    x = rng.normal(size=(count, *shape)).astype(np.float32)
    places = (labels, 0) if shape[1] == 1 else (0, labels)  # of features, and of images
    x[np.arange(count), *places] += 3
    return x, labels


def network(seed=0, batch_norm=False, dropout=0.0, channels=1):
    """Return a small network, with or without batch norm and dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Conv2d(channels, 4, 3), *([nn.BatchNorm2d(4)] if batch_norm else []), nn.ReLU(), nn.Flatten()]
        return nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(64, CLASSES))


def regime(learner, **options):
    """Return a short regime; ``options`` differ from it."""
    short = {"epochs": 3, "epoch_steps": 4, "batch_size": 4, "restarts": 0}
    own = {} if learner in ("supervised", "loss-prediction") else {"unlabelled_ratio": 2, "perturb": "shift-cutout"}
    return options_for("cnn", learner=learner, **{**short, **own, **options})


def objective(learner, model, x, labels, unlabelled, options, steps=12):
    """Return what a learner minimises on inputs, labelled and not."""
    y = torch.nn.functional.one_hot(torch.from_numpy(labels), CLASSES).float()
    generator = torch.Generator().manual_seed(1)
    setting = Setting(model.train(), torch.from_numpy(x), y, unlabelled, options, generator, None, steps)
    return LEARNERS[learner].objective(setting)
