"""Runs on which the fidelity report is tested."""

from pipeline.config import load_config
from pipeline.progress import silent
from pipeline.run.context import open_context
from pipeline.run.loop import ActiveLearningLoop
from pipeline.run.rundir import RunDirectory, create_run

LINEAR = """
from torch import nn

def build(input_shape, num_classes):
    channels, height, width = input_shape
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, num_classes))
"""
SETTINGS = {
    "query.n_init": 12,
    "query.size": 4,
    "query.subset": 40,
    "cycles": 2,
    "device": "cpu",
}
CONVERGED = {  # full-batch gradient descent to a residual of 1e-5, with nothing that pulls the weights elsewhere
    "train.weight_decay": 0.0,
    "train.tolerance": 1e-5,
    "train.epochs": 1500,
    "train.max_lr": 0.3,
}


class Quiet:
    """A reporter that remembers."""

    def __init__(self):
        self.estimates, self.done = [], []

    def check(self):
        pass

    def estimated(self, trainings, seconds):
        self.estimates.append((trainings, seconds))

    def advance(self, done, total):
        self.done.append((done, total))


class Mute:
    """The reporter of a run."""

    stage = staticmethod(lambda cycle, name: silent)
    row = warn = staticmethod(lambda _: None)


def make_run(path, **options):
    config = load_config(options={**SETTINGS, **{key.replace("__", "."): value for key, value in options.items()}})
    create_run(path, config)
    with RunDirectory(path, lambda _: None) as run:
        ActiveLearningLoop(run, open_context(run.config), Mute())()
    return path
